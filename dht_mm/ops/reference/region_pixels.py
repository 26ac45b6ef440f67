"""Bilinear samples of the boxes of regions, in plain tensor operations."""

import torch
from torch import Tensor

from .packing import image_of_rows, packed_labels


def region_pixels(image: Tensor, labels: Tensor, offsets: Tensor, bbox: Tensor, patch_size: int) -> tuple[Tensor, Tensor]:
    """See :func:`dht_mm.ops.region_pixels`."""
    batch, channels, height, width = image.shape
    total = len(bbox)
    pixels = image.movedim(1, -1).reshape(-1, channels)
    owner = packed_labels(labels, offsets).flatten()
    row = torch.arange(total, device=bbox.device)[:, None, None]
    first = (image_of_rows(offsets, total) * (height * width))[:, None, None]
    ys, xs = (axis_samples(bbox[:, axis], bbox[:, axis + 2], patch_size, image.dtype) for axis in (0, 1))
    samples = image.new_zeros(total * patch_size**2, channels)
    mask = image.new_zeros(total, patch_size, patch_size)
    for y, y_weight in ys:
        for x, x_weight in xs:
            index = (first + y[:, :, None] * width + x[:, None, :]).flatten()
            weight = y_weight[:, :, None] * x_weight[:, None, :]
            # index_select, since the backward of plain indexing is much slower
            samples = samples + weight.view(-1, 1) * pixels.index_select(0, index)
            mask = mask + weight * (owner[index].view_as(weight) == row)
    return samples.view(total, -1, channels).mT.reshape(total, channels, patch_size, patch_size), mask[:, None]


def axis_samples(low: Tensor, high: Tensor, count: int, dtype: torch.dtype) -> tuple[tuple[Tensor, Tensor], ...]:
    """The two neighbours, with weights, of ``count`` points that run linearly from ``low`` to ``high``, both included.

    Fractions come from integers: a point that should meet a pixel meets it exactly. A single point lies at ``low``.

    Args:
        low: ``[R]`` integer.
        high: ``[R]`` integer, at least ``low``.
        count: Points, at least 1.
        dtype: Of the weights.

    Returns:
        Twice ``([R, count] int64, [R, count] weight)``: the pixel at or before each point, and the one after.
    """
    steps = max(count - 1, 1)
    low, high = low.long()[:, None], high.long()[:, None]
    scaled = (high - low) * torch.arange(count, device=low.device)
    before = low + scaled // steps
    fraction = (scaled % steps).to(dtype) / steps
    return (before, 1 - fraction), ((before + 1).minimum(high), fraction)
