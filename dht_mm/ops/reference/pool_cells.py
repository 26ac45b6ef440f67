"""Coverage-weighted pooling of region tokens over square cells, in plain tensor operations."""

import torch
from torch import Tensor

from .packing import packed_labels


def pool_cells(tokens: Tensor, labels: Tensor, offsets: Tensor, stride: int) -> Tensor:
    """See :func:`dht_mm.ops.pool_cells`."""
    batch, height, width = labels.shape
    rows, columns = -(-height // stride), -(-width // stride)
    image, y, x = (torch.arange(length, device=labels.device) for length in labels.shape)
    cell = (image[:, None, None] * rows + y[:, None] // stride) * columns + x // stride
    pair, pixels = torch.unique(cell * len(tokens) + packed_labels(labels, offsets), return_counts=True)
    cell, region = pair // len(tokens), pair % len(tokens)
    area = _sides(height, rows, stride, cell)[cell // columns % rows] * _sides(width, columns, stride, cell)[cell % columns]
    pooled = tokens.new_zeros(batch * rows * columns, tokens.shape[1])
    pooled = pooled.index_add(0, cell, tokens.index_select(0, region) * (pixels / area).to(tokens.dtype)[:, None])
    return pooled.view(batch, rows, columns, -1).movedim(-1, 1)


def _sides(length: int, cells: int, stride: int, like: Tensor) -> Tensor:
    """Length of each cell along one axis; the last one can be cut off."""
    sides = like.new_full((cells,), stride)
    sides[-1] = length - stride * (cells - 1)
    return sides
