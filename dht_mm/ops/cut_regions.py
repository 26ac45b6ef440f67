"""Cutting regions along the cells of a grid."""

import torch
from torch import Tensor

from .backend import contiguous_ints, use_ext
from .checks import check_grid, check_labels
from .op import define
from .reference import cut_regions as reference


def cut_regions(labels: Tensor, offsets: Tensor, size: Tensor,
                grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Cut regions along the borders of a grid's cells into 4-connected parts.

    Pixel ``(y, x)`` lies in cell ``(grid_y * y // H, grid_x * x // W)``. Neighbouring pixels of one region and one cell are of one part;
    where a cell holds a region in several pieces, each is a part. Nothing waits for the device: the fields are as long as there can be
    parts at most.

    Args:
        labels: ``[B, H, W]`` integer, labels of each image; regions are 4-connected.
        offsets: ``[B + 1]`` integer, first row of each image.
        size: ``[R]`` integer, pixels. Rows from ``offsets[-1]`` on, of a fixed length, are of no region.
        grid: Cells along y and along x; more than there are pixels cut no finer.

    Returns:
        Canonical labels ``[B, H, W]`` of the parts and first rows ``[B + 1]``, sizes in pixels ``[Q]``, boxes ``[Q, 4]``, and the row of
        the region that each was cut from, ``[Q]``: all int32, with ``Q = R + B (H (grid_x - 1) + W (grid_y - 1))`` rows, zero from the
        last of the first rows on.

    Raises:
        TypeError: ``labels`` or ``offsets`` are not integers.
        ValueError: The shapes do not fit together, or a number of cells is not a positive integer; on the CPU also where a label has no
            row, or where regions in several pieces make more than ``Q`` parts.
    """
    check_labels(labels, offsets, size=size)
    check_grid(grid)
    if 0 in labels.shape[1:] or size.dim() != 1:
        raise ValueError(f'labels must have pixels and size be [R], got shapes {tuple(labels.shape)} and {tuple(size.shape)}')
    return _cut_regions(labels, offsets, size, *grid)


@define('cut_regions', '(Tensor labels, Tensor offsets, Tensor size, int grid_y, int grid_x)'
    ' -> (Tensor, Tensor, Tensor, Tensor, Tensor)')
def _cut_regions(labels, offsets, size, grid_y, grid_x):
    labels, offsets = contiguous_ints(labels, offsets)
    grid, rows = _within_image(labels, grid_y, grid_x), _most_parts(labels, size, grid_y, grid_x)
    compiled = use_ext(labels)
    if compiled and labels.is_cuda:
        return torch.ops.dht_mm_ext.cut_regions(labels, offsets, len(size), *grid, rows)
    if int(offsets[-1]) == 0:  # there are none: they did not fit a fixed length, or there is no image
        return tuple(labels.new_zeros(shape) for shape in (labels.shape, offsets.shape, (rows,), (rows, 4), (rows,)))
    if compiled:
        return torch.ops.dht_mm_ext.cut_regions(labels, offsets, len(size), *grid, rows)
    return reference.cut_regions(labels, offsets, grid, rows)


@_cut_regions.register_fake
def _(labels, offsets, size, grid_y, grid_x):
    rows = _most_parts(labels, size, grid_y, grid_x)
    return tuple(labels.new_empty(shape, dtype=torch.int32) for shape in (labels.shape, offsets.shape, (rows,), (rows, 4), (rows,)))


def _within_image(labels: Tensor, grid_y: int, grid_x: int) -> tuple[int, int]:
    return min(grid_y, labels.shape[1]), min(grid_x, labels.shape[2])


def _most_parts(labels: Tensor, size: Tensor, grid_y: int, grid_x: int) -> int:
    """Each pair of neighbouring pixels that is cut apart makes at most one part more of a connected region."""
    (batch, height, width), (rows, columns) = labels.shape, _within_image(labels, grid_y, grid_x)
    return size.shape[0] + batch * (height * (columns - 1) + width * (rows - 1))
