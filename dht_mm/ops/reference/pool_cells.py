"""Averages of region tokens over square cells, in plain tensor operations."""

import torch
from torch import Tensor

from .packing import packed_labels


def pool_cells(tokens: Tensor, labels: Tensor, offsets: Tensor, stride: int) -> Tensor:
    """``[R, D]`` to ``[B, rows, columns, D]``, see :func:`dht_mm.ops.pool_cells`."""
    cell, region, share = _shares(labels, offsets, len(tokens), stride, tokens.dtype)
    rows, columns = _grid(labels, stride)
    pooled = tokens.new_zeros(len(labels) * rows * columns, tokens.shape[1])
    return pooled.index_add(0, cell, tokens.index_select(0, region) * share).view(len(labels), rows, columns, tokens.shape[1])


def pool_cells_backward(grad: Tensor, labels: Tensor, offsets: Tensor, total_regions: int, stride: int) -> Tensor:
    """Gradient ``[B, rows, columns, D]`` of the cells to that of the tokens, ``[R, D]``."""
    cell, region, share = _shares(labels, offsets, total_regions, stride, grad.dtype)
    sums = grad.new_zeros(total_regions, grad.shape[-1])
    return sums.index_add(0, region, grad.reshape(-1, grad.shape[-1]).index_select(0, cell) * share)


def _shares(labels: Tensor, offsets: Tensor, total_regions: int, stride: int,
            dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of a cell and a region that share pixels, and the region's share of the cell, ``[pairs, 1]``."""
    height, width = labels.shape[1:]
    rows, columns = _grid(labels, stride)
    image, y, x = (torch.arange(length, device=labels.device) for length in labels.shape)
    cell = (image[:, None, None] * rows + y[:, None] // stride) * columns + x // stride
    pair, pixels = torch.unique(cell * total_regions + packed_labels(labels, offsets), return_counts=True)
    cell, region = pair // total_regions, pair % total_regions
    area = _sides(height, rows, stride, cell)[cell // columns % rows] * _sides(width, columns, stride, cell)[cell % columns]
    return cell, region, (pixels / area).to(dtype)[:, None]


def _grid(labels: Tensor, stride: int) -> tuple[int, int]:
    return -(-labels.shape[1] // stride), -(-labels.shape[2] // stride)


def _sides(length: int, cells: int, stride: int, like: Tensor) -> Tensor:
    """Length of each cell along one axis; the last one can be cut off."""
    sides = like.new_full((cells,), stride)
    sides[-1] = length - stride * (cells - 1)
    return sides
