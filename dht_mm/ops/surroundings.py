"""What pixels and their surroundings look like."""

import torch
from torch import Tensor

from .backend import use_ext
from .checks import check_devices
from .lines import ALL, check_lines, line_numbers
from .op import define
from .reference import surroundings as reference


def surroundings(image: Tensor, near: int, wide: int | None = None, rows: slice | Tensor = ALL, columns: slice | Tensor = ALL) -> Tensor:
    """Colours of pixels, and their means and deviations in squares around the pixels, without what lies beyond the border.

    Args:
        image: ``[B, C, H, W]`` float.
        near: Side of a square in pixels, odd.
        wide: Side of another one; None for the means of the first alone.
        rows: Which rows of pixels, a slice or ``[h]`` integers.
        columns: Which columns.

    Returns:
        ``[B, 2 C, h, w]``: colours and their means in the near square; or ``[B, 5 C, h, w]``: then means in the wide one and standard
        deviations in both. In the dtype of the image. Not differentiable. The kernels make nothing of the size of the image but the result.

    Raises:
        TypeError: ``image`` is not floating point.
        ValueError: ``image`` is not of four dimensions, a side is not an odd positive integer, or on the CPU a row or column is out of
            range.
    """
    check_devices(image=image)
    if not image.is_floating_point():
        raise TypeError(f'image must be floating point, got {image.dtype}')
    if image.dim() != 4:
        raise ValueError(f'image must be [B, C, H, W], got shape {tuple(image.shape)}')
    for name, side in (('near', near), ('wide', 1 if wide is None else wide)):
        if not isinstance(side, int) or side < 1 or side % 2 == 0:
            raise ValueError(f'{name} must be an odd positive integer, got {side!r}')
    lines = (line_numbers(chosen, length, image.device) for chosen, length in zip((rows, columns), image.shape[2:], strict=True))
    return _surroundings(image.detach(), *lines, near, wide or 0)


@define('surroundings', '(Tensor image, Tensor rows, Tensor columns, int near, int wide) -> Tensor')
def _surroundings(image, rows, columns, near, wide):
    check_lines(rows, columns, image.shape[2:])
    if use_ext(image):
        return torch.ops.dht_mm_ext.surroundings(image.contiguous(), rows.contiguous(), columns.contiguous(), near, wide)
    return reference.surroundings(image, rows, columns, near, wide)


@_surroundings.register_fake
def _(image, rows, columns, near, wide):
    return image.new_empty(len(image), image.shape[1] * (5 if wide else 2), len(rows), len(columns))
