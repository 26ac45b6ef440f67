"""Bilinear samples of the boxes of regions, in plain tensor operations."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .packing import image_of_rows, packed_labels, paint


def region_pixels(image: Tensor, labels: Tensor, offsets: Tensor, bbox: Tensor, shift: Tensor | None,
                  patch_size: int) -> tuple[Tensor, Tensor]:
    """See :func:`dht_mm.ops.region_pixels`."""
    total, channels = len(bbox), image.shape[1]
    owner = packed_labels(labels, offsets).flatten()
    if shift is not None:
        image = image + paint(shift, labels, offsets)
    pixels = image.movedim(1, -1).reshape(-1, channels)
    row = torch.arange(total, device=bbox.device)[:, None, None]
    samples = image.new_zeros(total * patch_size**2, channels)
    mask = image.new_zeros(total, patch_size, patch_size)
    for index, weight in _taps(labels, offsets, bbox, patch_size, image.dtype):
        samples = samples + weight.view(-1, 1) * pixels.index_select(0, index.flatten())
        mask = mask + weight * (owner[index] == row)
    samples = samples.view(total, patch_size, patch_size, channels).movedim(-1, 1).contiguous()
    return samples, mask[:, None]


def region_pixels_backward(grad: Tensor, labels: Tensor, offsets: Tensor, bbox: Tensor, per_region: bool) -> Tensor:
    """Gradient to the image or, summed over the pixels of each region, to the shift.

    Args:
        grad: ``[R, C, q, q]``, gradient to the samples.
        labels: As in the forward.
        offsets: As in the forward.
        bbox: As in the forward.
        per_region: Whether to sum over regions.

    Returns:
        ``[B, C, H, W]``, or ``[R, C]`` if ``per_region``, in the dtype of ``grad``.
    """
    total, channels = grad.shape[:2]
    rows = grad.flatten(2).mT.reshape(-1, channels).double()
    owner = packed_labels(labels, offsets).flatten()
    sums = rows.new_zeros(total if per_region else labels.numel(), channels)
    for index, weight in _taps(labels, offsets, bbox, grad.shape[-1], torch.float64):
        target = owner[index] if per_region else index
        sums = sums.index_add(0, target.flatten(), weight.view(-1, 1) * rows)
    sums = sums.to(grad.dtype)
    return sums if per_region else sums.view(*labels.shape, channels).movedim(-1, 1).contiguous()


def _taps(labels: Tensor, offsets: Tensor, bbox: Tensor, patch_size: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each of the four pixels around a point, its index in the batch and its weight, both ``[R, patch_size, patch_size]``."""
    height, width = labels.shape[1:]
    first = (image_of_rows(offsets, len(bbox)) * (height * width))[:, None, None]
    ys, xs = (axis_samples(*_within(bbox[:, axis], bbox[:, axis + 2], side), patch_size, dtype)
              for axis, side in enumerate((height, width)))
    for y, y_weight in ys:
        for x, x_weight in xs:
            yield first + y[:, :, None] * width + x[:, None, :], y_weight[:, :, None] * x_weight[:, None, :]


def _within(low: Tensor, high: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Ends of boxes, moved into the image where they are not."""
    low, high = low.clamp(0, side - 1), high.clamp(0, side - 1)
    return low, high.maximum(low)


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
