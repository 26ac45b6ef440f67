"""Sliding windows over an image, with memory for one row of windows."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows start along one axis, as in mmsegmentation: every ``stride``, the last one moved back to end with the image."""
    count = max(length - window + stride - 1, 0) // stride + 1
    return [min(index * stride, max(length - window, 0)) for index in range(count)]


def slide_bands(encode: Callable[[Tensor], Tensor], inputs: Tensor, channels: int, crop_size: tuple[int, int],
                stride: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
    """Average what overlapping windows give, from the top of the image to its bottom.

    Rows are given out as soon as no further window covers them, so that the whole map need never exist. Windows are added in the
    order of mmsegmentation's ``slide_inference``, and the values are the same.

    Args:
        encode: A window ``[B, C, h, w]`` to its logits ``[B, K, h, w]``.
        inputs: ``[B, C, H, W]`` float.
        channels: K.
        crop_size: Height and width of a window; one larger than the image is cut.
        stride: Rows and columns from one window to the next.

    Yields:
        The first row of a band, and its logits ``[B, K, rows, W]``, to be read before the next. Bands follow without gaps.
    """
    (height, width), (rows, columns) = inputs.shape[2:], (min(pair) for pair in zip(crop_size, inputs.shape[2:], strict=True))
    tops, lefts = (window_starts(*axis) for axis in zip((height, width), crop_size, stride, strict=True))
    # Classes last in memory, as painted tokens come: sums and largest classes then run along it.
    total = inputs.new_zeros(len(inputs), rows, width, channels).movedim(-1, 1)
    count = inputs.new_zeros(rows, width)
    for top, following in zip(tops, [*tops[1:], height], strict=True):
        for left in lefts:
            window = slice(left, left + columns)
            total[..., window] += encode(inputs[:, :, top:top + rows, window])
            count[:, window] += 1
        done = following - top
        yield top, total[:, :, :done].div_(count[:done])
        if following < height:
            total, count = (_shift_up(field, done) for field in (total, count))


def _shift_up(rows: Tensor, done: int) -> Tensor:
    """``[..., h, W]`` without the first ``done`` rows, zeros after the others."""
    shifted = torch.zeros_like(rows)
    shifted[..., :-done, :] = rows[..., done:, :]
    return shifted
