"""Rows of packed fields: regions of a batch, image after image, label after label."""

import torch
from torch import Tensor


def packed_labels(labels: Tensor, offsets: Tensor) -> Tensor:
    """``[B, H, W]`` labels of each image and ``[B + 1]`` first rows to ``[B, H, W]`` int64 rows of the packed fields.

    Raises:
        ValueError: On the CPU: an image has a label that has no row. Elsewhere this would wait for the device.
    """
    if labels.device.type == 'cpu' and labels.numel():
        low, high = (reduce(1) for reduce in (labels.flatten(1).amin, labels.flatten(1).amax))
        wrong = (low < 0) | (high >= offsets.diff()) | (offsets[:-1] < 0)
        if wrong.any():
            raise ValueError(f'labels must be in the range that offsets gives their image, image {int(wrong.nonzero()[0])} is not')
    return _add_first_rows(labels, offsets)


def _add_first_rows(labels: Tensor, offsets: Tensor) -> Tensor:
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
    """``[R, D]`` rows of regions to ``[B, D, H, W]`` pixels. Compilers look inside, so labels are not checked here."""
    # index_select, since the backward of plain indexing is much slower
    pixels = rows.index_select(0, _add_first_rows(labels, offsets).flatten())
    return pixels.view(*labels.shape, rows.shape[1]).movedim(-1, 1)
