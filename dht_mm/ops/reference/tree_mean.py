"""The means of selected regions as a differentiable function of pixel features, the structure being given (paper eq. 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .hierarchy import picked_weight
from .statistics import SMALLEST_ROOT_WEIGHT

if TYPE_CHECKING:
    from ..hierarchy import Hierarchy


def replay(features: Tensor, slope: Tensor, bias: Tensor, hierarchy: Hierarchy, kernel: str, compactness: float) -> Tensor:
    """Recompute the means level by level in float64; autograd follows every step.

    Args:
        features: ``[B, d, H, W]``.
        slope: ``[d]``.
        bias: ``[]``.
        hierarchy: Structure found from (nearly) these features.
        kernel: Name of the similarity kernel.
        compactness: ``c`` of the edge weight.

    Returns:
        ``[R, d]`` float64.
    """
    batch, channels, height, width = features.shape
    starts = hierarchy.level_starts.tolist()
    mean = features.double().movedim(1, 0).flatten(1)
    variance = torch.zeros_like(mean)
    levels = [mean]
    size, box = _sizes_and_boxes(hierarchy, batch, height, width)
    for level, (start, stop) in enumerate(zip(starts[:-2], starts[1:-1], strict=True)):
        pick, parent = hierarchy.pick[start:stop].long() - start, hierarchy.parent[start:stop].long() - stop
        alpha = size[start:stop].double()
        if level < len(starts) - 3:
            weight = picked_weight(mean, variance, size[start:stop], box[:, start:stop], pick, slope, bias, kernel, compactness)
            alpha = alpha * weight.clamp_min(SMALLEST_ROOT_WEIGHT**2).sqrt()
        mean, variance = _merge(mean, variance, alpha, parent, starts[level + 2] - stop)
        levels.append(mean)
    return torch.cat(levels, 1)[:, hierarchy.node.long()].T


def _sizes_and_boxes(hierarchy: Hierarchy, batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    pixel = torch.arange(height * width, device=hierarchy.parent.device).repeat(batch)
    y, x = pixel // width, pixel % width
    size = torch.cat([torch.ones_like(pixel), hierarchy.node_size.long()])
    return size, torch.cat([torch.stack([y, x, y, x]), hierarchy.node_bbox.T.long()], 1)


def _merge(mean: Tensor, variance: Tensor, alpha: Tensor, parent: Tensor, num_parents: int) -> tuple[Tensor, Tensor]:
    def total(terms: Tensor) -> Tensor:
        return terms.new_zeros(len(terms), num_parents).index_add(1, parent, terms)

    share = alpha / total(alpha[None])[0][parent]
    new_mean = total(share * mean)
    return new_mean, total(share * (variance + (mean - new_mean[:, parent]) ** 2))
