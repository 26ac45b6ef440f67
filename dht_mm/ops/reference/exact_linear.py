"""A linear map over channels whose sums run in a fixed order."""

import torch
from torch import Tensor


class _ExactLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, planes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(planes, weight)
        # Products and sums are separate calls, so that none is fused on one device and not on another.
        out = bias.double()[:, None].expand(-1, planes.shape[2]).repeat(len(planes), 1, 1)
        columns = weight.double()
        for k in range(planes.shape[1]):
            out += planes[:, None, k].double() * columns[:, k, None]
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        planes, weight = ctx.saved_tensors
        needs_planes, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            torch.einsum('bon,ok->bkn', grad, weight.double()).to(planes.dtype) if needs_planes else None,
            torch.einsum('bon,bkn->ok', grad, planes.double()).to(weight.dtype) if needs_weight else None,
            grad.sum((0, 2)).to(weight.dtype) if needs_bias else None)


def exact_linear(planes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Pure-torch implementation of :func:`dht_mm.ops.exact_linear`."""
    return _ExactLinear.apply(planes, weight, bias)
