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


def rows_forward(rows: Tensor, weight: Tensor, bias: Tensor, used: Tensor | None) -> Tensor:
    """See :func:`dht_mm.ops.exact_linear`."""
    with_bias = forward(rows.T[None], weight, bias)[0].T
    if used is not None:
        with_bias = torch.where(are_used(rows, used), with_bias, forward(rows.T[None], weight, torch.zeros_like(bias))[0].T)
    return with_bias.to(rows.dtype).contiguous()


def are_used(rows: Tensor, used: Tensor) -> Tensor:
    """``[R, 1]`` bool: the first ``used`` rows."""
    return torch.arange(len(rows), device=rows.device)[:, None] < used


def rows_backward(grad: Tensor, rows: Tensor, weight: Tensor, used: Tensor | None,
                  needs: tuple[bool, bool, bool]) -> tuple[Tensor | None, ...]:
    """Gradients to rows, weight and bias, in their dtypes; ``None`` where not needed."""
    grad = grad.double()
    if used is not None:
        grad = torch.where(are_used(grad, used), grad, 0.0)
    return ((grad @ weight.double()).to(rows.dtype) if needs[0] else None,
            (grad.mT @ rows.double()).to(weight.dtype) if needs[1] else None,
            grad.sum(0).to(weight.dtype) if needs[2] else None)
