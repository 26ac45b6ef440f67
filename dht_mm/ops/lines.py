"""Rows and columns of an image, as the operators on some of its pixels take them."""

from collections.abc import Sequence

import torch
from torch import Tensor

ALL = slice(None)


def line_numbers(lines: slice | Tensor, length: int, device: torch.device) -> Tensor:
    """``[n]`` int64: the numbers of rows, or of columns, of ``length``.

    Args:
        lines: A slice, or the numbers, ``[n]`` integers in ``[0, length)``, see :func:`check_lines`.
        length: How many there are.
        device: Where the image is.

    Raises:
        TypeError: ``lines`` are a tensor of something else than integers.
        ValueError: ``lines`` are not a vector, or lie on another device.
    """
    if isinstance(lines, slice):
        return torch.arange(*lines.indices(length), device=device)
    if lines.dtype not in (torch.int32, torch.int64):
        raise TypeError(f'rows and columns must be slices or int64, got {lines.dtype}')
    if lines.dim() != 1 or lines.device != device:
        raise ValueError(f'rows and columns must be vectors on {device}, got shape {tuple(lines.shape)} on {lines.device}')
    return lines.long()


def check_lines(rows: Tensor, columns: Tensor, size: Sequence[int]) -> None:
    """Raise on the CPU unless all numbers are of rows and columns of an image of ``size``. Elsewhere this would wait for the device.

    To be called within operators, where no compiler looks.

    Raises:
        ValueError: One is out of range.
    """
    if rows.device.type != 'cpu':
        return
    for name, lines, length in zip(('rows', 'columns'), (rows, columns), size, strict=True):
        low, high = (int(end) for end in lines.aminmax()) if len(lines) else (0, 0)
        if low < 0 or high >= length > 0:
            raise ValueError(f'{name} must be in [0, {length}), got {low if low < 0 else high}')
