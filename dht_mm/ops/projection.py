"""Pixel features of the tokenizer as one op."""

import torch
from torch import Tensor

from .backend import use_ext
from .reference import projection as reference


class _Project(torch.autograd.Function):
    """The compiled forward; the gradient is that of the definition."""

    @staticmethod
    def forward(ctx, image: Tensor, parameters: Tensor, channels: int, eps: float) -> Tensor:
        ctx.save_for_backward(image, parameters)
        ctx.options = (channels, eps)
        out = torch.ops.dht_mm_ext.project(image.contiguous(), parameters.contiguous(), channels, eps)
        return out.permute(0, 3, 1, 2) if image.is_cuda else out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            image, parameters = (tensor.detach().requires_grad_(needed) for tensor, needed in zip(
                ctx.saved_tensors, ctx.needs_input_grad[:2], strict=True))
            wanted = [tensor for tensor in (image, parameters) if tensor.requires_grad]
            grads = iter(torch.autograd.grad(reference.project(image, parameters, *ctx.options), wanted, grad))
        return (*(next(grads) if tensor.requires_grad else None for tensor in (image, parameters)), None, None)


def project(image: Tensor, parameters: Tensor, channels: int, eps: float = 1e-5) -> Tensor:
    """``f0 = SiLU(A(x) + U(x))`` with running statistics of batch norm (paper section 3 and appendix).

    Every value is computed in float64 with single IEEE operations in a fixed order and rounded once at the end.

    Args:
        image: ``[B, C, H, W]`` float, any H, W >= 1.
        parameters: One vector with weight, bias, gamma, beta, running mean and variance of three layers: ``A`` (``d x C``), the first
            convolution of ``U`` (``4d x 4C``, patches of 2x2) and the second (``d x 16d``).
        channels: Features ``d`` of a pixel.
        eps: Batch norm's epsilon.

    Returns:
        ``[B, d, H, W]`` in the dtype of ``image``.

    Raises:
        ValueError: ``parameters`` does not have the length that the channels ask for.
    """
    in_channels = image.shape[1]
    length = channels * (in_channels + 5) + 4 * channels * (4 * in_channels + 5) + channels * (16 * channels + 5)
    if parameters.shape != (length,):
        raise ValueError(f'parameters must be [{length}] for {in_channels} image and {channels} feature channels, got '
                         f'{tuple(parameters.shape)}')
    if use_ext(image) and parameters.dtype == torch.float32:
        return _Project.apply(image, parameters, channels, eps)
    return reference.project(image, parameters, channels, eps)
