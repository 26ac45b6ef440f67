"""The graph of neighbouring regions, and the numbering of regions after neighbours were merged, in plain tensor operations."""

import torch
from torch import Tensor

from .components import number_roots


def region_edges(packed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of neighbouring regions, each once, smaller row first, in lexicographic order.

    Args:
        packed: ``[B, H, W]`` int64, row of each pixel's region.

    Returns:
        Three ``[m]`` int64: both ends of each edge, and its length, the number of pixel sides between the two.
    """
    horizontal = torch.stack([packed[:, :, :-1].flatten(), packed[:, :, 1:].flatten()])
    vertical = torch.stack([packed[:, :-1].flatten(), packed[:, 1:].flatten()])
    sides = torch.cat([horizontal, vertical], 1)
    return join_edges(*sides, torch.ones_like(sides[0]))


def join_edges(first: Tensor, second: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Add up the lengths of edges between the same regions and drop those within one; see :func:`region_edges`."""
    low, high = torch.aminmax(torch.stack([first, second]), dim=0)
    outer = low != high
    key, edge = torch.unique(((low << 32) | high)[outer], return_inverse=True)
    return key >> 32, key & 0xFFFFFFFF, torch.zeros_like(key).scatter_add_(0, edge, length[outer])


def number_merged(root: Tensor, image: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Number merged regions canonically.

    Args:
        root: ``[R]`` int64, smallest row of each region's component.
        image: ``[R]`` int64, the image of each row.
        batch: Number of images, ``B``.

    Returns:
        ``[R]`` int32, row of each region in the merged partition, and ``[B + 1]`` int32, first row of each image in it.
    """
    parent, roots = number_roots(root)
    ends = torch.bincount(image[roots], minlength=batch).cumsum(0)
    return parent.int(), torch.cat([ends.new_zeros(1), ends]).int()
