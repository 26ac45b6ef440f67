"""The linear map from features of regions to colours: same bits on every device and for every batch size."""

import torch
from torch import Tensor

from .backend import use_ext
from .checks import check_devices
from .op import define
from .reference import exact_linear as reference


def exact_linear(rows: Tensor, weight: Tensor, bias: Tensor, used: Tensor | None = None) -> Tensor:
    """``rows @ weight.T + bias``, summed in float64 in the order of the columns, bias first, and rounded once.

    Args:
        rows: ``[R, K]`` float.
        weight: ``[O, K]`` float.
        bias: ``[O]`` float.
        used: ``[]`` int32, on the device of the rows: how many of them there are. Those after it, which are zero, stay zero, for they get
            no bias, and pass no gradient. None is all.

    Returns:
        ``[R, O]`` in the dtype of ``rows``; differentiable once.

    Raises:
        ValueError: The shapes do not fit together, or ``used`` is not an int32.
    """
    check_devices(rows=rows, weight=weight, bias=bias, **({} if used is None else dict(used=used)))
    if rows.dim() != 2 or weight.dim() != 2 or rows.shape[1] != weight.shape[1] or bias.shape != weight.shape[:1]:
        raise ValueError(f'rows, weight and bias must be [R, K], [O, K] and [O], got {tuple(rows.shape)}, {tuple(weight.shape)} and '
                         f'{tuple(bias.shape)}')
    if used is not None and (used.dtype != torch.int32 or used.dim() != 0):
        raise ValueError(f'used must be an int32 [], got {used.dtype} of shape {tuple(used.shape)}')
    return _exact_linear(rows, weight, bias, used)


@define('exact_linear', '(Tensor rows, Tensor weight, Tensor bias, Tensor? used) -> Tensor')
def _exact_linear(rows, weight, bias, used):
    if rows.dtype in (torch.float32, torch.float64) and weight.dtype == bias.dtype == torch.float32 and use_ext(weight):
        return torch.ops.dht_mm_ext.exact_linear(rows.contiguous(), weight.contiguous(), bias.contiguous(), used)
    return reference.rows_forward(rows, weight, bias, used)


@_exact_linear.register_fake
def _(rows, weight, bias, used):
    return rows.new_empty(rows.shape[0], weight.shape[0])


def _setup_context(ctx, inputs, output):
    rows, weight, _, used = inputs
    ctx.save_for_backward(rows, weight, used)


def _backward(ctx, grad):
    return *reference.rows_backward(grad, *ctx.saved_tensors, ctx.needs_input_grad), None


_exact_linear.register_autograd(_backward, setup_context=_setup_context)
