"""A linear map over channels whose sums run in a fixed order."""

import torch
from torch import Tensor


def forward(planes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``[B, K, N]``, ``[O, K]`` and ``[O]`` to ``[B, O, N]`` float64."""
    # Products and sums are separate calls, so that none is fused on one device and not on another.
    out = bias.double()[:, None].expand(-1, planes.shape[2]).repeat(len(planes), 1, 1)
    columns = weight.double()
    for k in range(planes.shape[1]):
        out += planes[:, None, k].double() * columns[:, k, None]
    return out


def backward(grad: Tensor, planes: Tensor, weight: Tensor, needs: tuple[bool, bool, bool]) -> tuple[Tensor | None, ...]:
    """Gradients to planes, weight and bias, in their dtypes; ``None`` where not needed."""
    return (
        torch.einsum('bon,ok->bkn', grad, weight.double()).to(planes.dtype) if needs[0] else None,
        torch.einsum('bon,bkn->ok', grad, planes.double()).to(weight.dtype) if needs[1] else None,
        grad.sum((0, 2)).to(weight.dtype) if needs[2] else None)


class _ExactLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, planes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(planes, weight)
        return forward(planes, weight, bias)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return backward(grad, *ctx.saved_tensors, ctx.needs_input_grad)


def exact_linear(planes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Pure-torch implementation of :func:`dht_mm.ops.exact_linear`, differentiable."""
    return _ExactLinear.apply(planes, weight, bias)
