"""Pixel features of the tokenizer as one op."""

import torch
from torch import Tensor

from .backend import use_ext
from .reference import projection as reference
from .reference import projection_gradient
from .reference.gradients import gradients


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
    return _project(image, parameters, channels, eps)


@torch.library.custom_op('dht_mm::project', mutates_args=(), schema='(Tensor image, Tensor parameters, int channels, float eps) -> Tensor')
def _project(image, parameters, channels, eps):
    if use_ext(image) and parameters.dtype == torch.float32:
        out = torch.ops.dht_mm_ext.project(image.contiguous(), parameters.contiguous(), channels, eps)
        return out.permute(0, 3, 1, 2) if image.is_cuda else out
    return reference.project(image, parameters, channels, eps)


@_project.register_fake
def _(image, parameters, channels, eps):
    batch, _, height, width = image.shape
    if image.is_cuda and use_ext(image):
        return image.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)
    return image.new_empty(batch, channels, height, width)


@torch.library.custom_op('dht_mm::project_backward', mutates_args=(),
                         schema='(Tensor grad, Tensor image, Tensor parameters, int channels, float eps) -> (Tensor, Tensor)')
def _project_backward(grad, image, parameters, channels, eps):
    return gradients(lambda *leaves: projection_gradient.project(*leaves, channels, eps), (image, parameters), grad)


@_project_backward.register_fake
def _(grad, image, parameters, channels, eps):
    return torch.empty_like(image), torch.empty_like(parameters)


def _setup_context(ctx, inputs, output):
    image, parameters, *ctx.options = inputs
    ctx.save_for_backward(image, parameters)


def _backward(ctx, grad):
    return *_project_backward(grad, *ctx.saved_tensors, *ctx.options), None, None


_project.register_autograd(_backward, setup_context=_setup_context)
