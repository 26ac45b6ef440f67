"""Histograms of the pixels' positions, in plain tensor operations."""

import torch
from torch import Tensor

from .histogram import count
from .packing import packed_labels


def position_histogram(labels: Tensor, offsets: Tensor, total_regions: int, grid: tuple[int, int]) -> Tensor:
    """See :func:`dht_mm.ops.position_histogram`."""
    return count(packed_labels(labels, offsets), cell_of_pixels(labels, grid), total_regions, grid[0] * grid[1])


def cell_of_pixels(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """``[H, W]`` int64: the cell of a grid over the image that each pixel lies in, y-major."""
    rows, columns = (torch.arange(length, device=labels.device) * cells // length
                     for length, cells in zip(labels.shape[1:], grid, strict=True))
    return rows[:, None] * grid[1] + columns
