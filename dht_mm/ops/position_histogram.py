"""Where regions lie: the histogram of each region's pixels over a coarse grid."""

import torch
from torch import Tensor

from .backend import contiguous_ints, use_ext
from .checks import check_count, check_grid, check_labels
from .op import define
from .reference import position_histogram as reference


def position_histogram(labels: Tensor, offsets: Tensor, total_regions: int, grid: tuple[int, int]) -> Tensor:
    """Count the pixels of each region in each cell of a grid over the image (paper, region features).

    Pixel ``(y, x)`` lies in cell ``(grid_y * y // H, grid_x * x // W)``.

    Args:
        labels: ``[B, H, W]`` integer, the region of each pixel, numbered per image.
        offsets: ``[B + 1]`` integer, first row of each image.
        total_regions: Regions ``R`` of the batch, ``offsets[-1]``.
        grid: Cells along y and along x.

    Returns:
        ``[R, grid_y * grid_x]`` int32, y-major. A row sums to the size of its region.

    Raises:
        TypeError: ``labels`` or ``offsets`` are not integers.
        ValueError: The shapes do not fit together, or a number of cells is not a positive integer.
    """
    check_labels(labels, offsets)
    check_count(total_regions=total_regions)
    check_grid(grid)
    return _position_histogram(labels, offsets, total_regions, *grid)


@define('position_histogram', '(Tensor labels, Tensor offsets, SymInt total_regions, int grid_y, int grid_x) -> Tensor')
def _position_histogram(labels, offsets, total_regions, grid_y, grid_x):
    labels, offsets = contiguous_ints(labels, offsets)
    if use_ext(labels):
        return torch.ops.dht_mm_ext.position_histogram(labels, offsets, total_regions, grid_y, grid_x)
    return reference.position_histogram(labels, offsets, total_regions, (grid_y, grid_x))


@_position_histogram.register_fake
def _(labels, offsets, total_regions, grid_y, grid_x):
    return labels.new_empty(total_regions, grid_y * grid_x, dtype=torch.int32)
