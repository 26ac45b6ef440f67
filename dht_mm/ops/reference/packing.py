"""Rows of packed fields: regions of a batch, image after image, label after label."""

import torch
from torch import Tensor


def packed_labels(labels: Tensor, offsets: Tensor) -> Tensor:
    """``[B, H, W]`` labels of each image and ``[B + 1]`` first rows to ``[B, H, W]`` int64 rows of the packed fields."""
    return labels.long() + offsets[:-1].long()[:, None, None]


def image_of_rows(offsets: Tensor, total_regions: int) -> Tensor:
    """``[R]`` int64: the image of each row; the last one's are all rows from ``offsets[-2]`` on."""
    rows = torch.arange(total_regions, dtype=offsets.dtype, device=offsets.device)
    return torch.bucketize(rows, offsets[1:-1], right=True)


def used_rows(offsets: Tensor, *fields: Tensor) -> tuple[Tensor, ...]:
    """Fields of a fixed length without the rows of no region. Waits for the device."""
    used = int(offsets[-1])
    return tuple(field[:used] for field in fields)


def fill_rows(field: Tensor, total: int, value: float = 0) -> Tensor:
    """A field with rows of ``value`` behind it, ``total`` rows in all."""
    return field if len(field) == total else torch.cat([field, field.new_full((total - len(field), *field.shape[1:]), value)])


def paint(rows: Tensor, labels: Tensor, offsets: Tensor) -> Tensor:
    """``[R, D]`` rows of regions to ``[B, D, H, W]`` pixels."""
    # index_select, since the backward of plain indexing is much slower
    pixels = rows.index_select(0, packed_labels(labels, offsets).flatten())
    return pixels.view(*labels.shape, rows.shape[1]).movedim(-1, 1)
