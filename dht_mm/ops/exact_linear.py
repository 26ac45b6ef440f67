"""The linear map behind everything that decides an edge: same bits on every device and for every batch size."""

import torch
from torch import Tensor

from .backend import use_ext
from .reference import exact_linear as reference


def exact_linear(planes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``out[b, :, n] = weight @ planes[b, :, n] + bias`` in float64, summed in the order of the channels, bias first.

    Args:
        planes: ``[B, K, N]`` float.
        weight: ``[O, K]`` float.
        bias: ``[O]`` float.

    Returns:
        ``[B, O, N]`` float64; differentiable once.

    Raises:
        ValueError: The shapes do not fit together.
    """
    if planes.dim() != 3 or weight.dim() != 2 or planes.shape[1] != weight.shape[1] or bias.shape != weight.shape[:1]:
        raise ValueError(f'planes, weight and bias must be [B, K, N], [O, K] and [O], got {tuple(planes.shape)}, '
                         f'{tuple(weight.shape)} and {tuple(bias.shape)}')
    return _exact_linear(planes, weight, bias)


@torch.library.custom_op('dht_mm::exact_linear', mutates_args=(), schema='(Tensor planes, Tensor weight, Tensor bias) -> Tensor')
def _exact_linear(planes, weight, bias):
    if planes.dtype in (torch.float32, torch.float64) and weight.dtype == torch.float32 and use_ext(weight):
        return torch.ops.dht_mm_ext.exact_linear(planes.contiguous(), weight.contiguous(), bias.contiguous())
    return reference.forward(planes, weight, bias)


@_exact_linear.register_fake
def _(planes, weight, bias):
    return planes.new_empty(planes.shape[0], weight.shape[0], planes.shape[2], dtype=torch.float64)


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx, grad):
    return reference.backward(grad, *ctx.saved_tensors, ctx.needs_input_grad)


_exact_linear.register_autograd(_backward, setup_context=_setup_context)
