"""Regions of even size out of a hard budget: none that it merges is large, and what it compares includes where pixels lie."""

from dataclasses import replace
from math import isqrt

import torch
from torch import Tensor

from dht_mm.ops import cut_regions
from dht_mm.structures import Partition

# Regions are cut into squares of so many sides of a patch, of which an image has as many as regions are to be left. Larger squares follow
# the image more, smaller ones are more even; squares of one patch would leave the merge no choice.
SQUARE = 2


def cut_coarsely(partition: Partition, target: int) -> Partition:
    """Cut regions along a grid of coarse squares into connected parts, which have their region's mean.

    Args:
        partition: The regions.
        target: Regions of an image that are to be left.

    Returns:
        The parts, in fields of a fixed length.
    """
    height, width = (int(side) for side in partition.labels.shape[1:])  # torch.jit.trace makes tensors of sizes
    labels, offsets, size, bbox, region = cut_regions(
        partition.labels, partition.offsets, partition.size, coarse_grid(height, width, target))
    # A region's gradient is a sum over its parts. Added in float64, it does not show their order in float32.
    mean = partition.mean.double().index_select(0, region).to(partition.mean.dtype)
    counts = torch.where(partition.num_regions < 0, partition.num_regions, offsets.diff())  # negative: they did not fit
    return replace(partition, labels=labels, num_regions=counts, offsets=offsets, bbox=bbox, size=size, mean=mean, color=mean,
                   max_regions=height * width)


def coarse_grid(height: int, width: int, target: int) -> tuple[int, int]:
    """Squares along y and along x, rounded down: ``H sqrt(T / (H W)) / SQUARE`` and the same of ``W``, at least one."""
    rows, columns = (isqrt(target * side // (SQUARE**2 * other)) for side, other in ((height, width), (width, height)))
    return max(1, rows), max(1, columns)


def with_places(images: Tensor, target: int, spread: float) -> Tensor:
    """Images with y and x of their pixels as further channels, ``[B, C + 2, H, W]``, of which a patch's side is ``spread``."""
    batch, _, height, width = (int(side) for side in images.shape)
    unit = spread * (target / (height * width)) ** 0.5
    y, x = (torch.arange(length, dtype=torch.float64, device=images.device).mul(unit).to(images.dtype) for length in (height, width))
    places = torch.stack([y[:, None].expand(height, width), x.expand(height, width)])
    return torch.cat([images.detach(), places.expand(batch, -1, -1, -1)], 1)
