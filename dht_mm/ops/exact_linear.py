"""The linear map from features of regions to colours: same bits on every device and for every batch size."""

import torch
from torch import Tensor

from .backend import use_ext
from .checks import check_devices
from .reference import exact_linear as reference


def exact_linear(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``rows @ weight.T + bias``, summed in float64 in the order of the columns, bias first, and rounded once.

    Args:
        rows: ``[R, K]`` float.
        weight: ``[O, K]`` float.
        bias: ``[O]`` float.

    Returns:
        ``[R, O]`` in the dtype of ``rows``; differentiable once.

    Raises:
        ValueError: The shapes do not fit together.
    """
    check_devices(rows=rows, weight=weight, bias=bias)
    if rows.dim() != 2 or weight.dim() != 2 or rows.shape[1] != weight.shape[1] or bias.shape != weight.shape[:1]:
        raise ValueError(f'rows, weight and bias must be [R, K], [O, K] and [O], got {tuple(rows.shape)}, {tuple(weight.shape)} and '
                         f'{tuple(bias.shape)}')
    return _exact_linear(rows, weight, bias)


@torch.library.custom_op('dht_mm::exact_linear', mutates_args=(), schema='(Tensor rows, Tensor weight, Tensor bias) -> Tensor')
def _exact_linear(rows, weight, bias):
    if rows.dtype in (torch.float32, torch.float64) and weight.dtype == bias.dtype == torch.float32 and use_ext(weight):
        return torch.ops.dht_mm_ext.exact_linear(rows.contiguous(), weight.contiguous(), bias.contiguous())
    return reference.rows_forward(rows, weight, bias)


@_exact_linear.register_fake
def _(rows, weight, bias):
    return rows.new_empty(rows.shape[0], weight.shape[0])


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx, grad):
    return reference.rows_backward(grad, *ctx.saved_tensors, ctx.needs_input_grad)


_exact_linear.register_autograd(_backward, setup_context=_setup_context)
