"""Histograms of the pixels' positions, in plain tensor operations."""

import torch
from torch import Tensor

from .histogram import count
from .packing import packed_labels


def position_histogram(labels: Tensor, offsets: Tensor, total_regions: int, grid: tuple[int, int]) -> Tensor:
    """See :func:`dht_mm.ops.position_histogram`."""
    rows, columns = (torch.arange(length, device=labels.device) * cells // length
                     for length, cells in zip(labels.shape[1:], grid, strict=True))
    return count(packed_labels(labels, offsets), rows[:, None] * grid[1] + columns, total_regions, grid[0] * grid[1])
