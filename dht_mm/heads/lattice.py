"""Some of an image's pixels, in rows and columns."""

from typing import NamedTuple

import torch
from torch import Tensor


class Lattice(NamedTuple):
    """The pixels to compute, by default all.

    Attributes:
        rows: Which rows, a slice or ``[h]`` int64.
        columns: Which columns, a slice or ``[w]`` int64.
    """

    rows: Tensor | slice = slice(None)
    columns: Tensor | slice = slice(None)

    @classmethod
    def random(cls, height: int, width: int, stride: int, device: torch.device) -> 'Lattice':
        """Every ``stride``-th row and column from a random first one on, drawn on the device: all are met as often, and one at least."""
        if stride == 1:
            return cls()
        strides = min(stride, height), min(stride, width)
        return cls(*(torch.arange(0, length - step + 1, step, device=device) + torch.randint(step, (1,), device=device)
                     for length, step in zip((height, width), strides, strict=True)))

    def cut(self, maps: Tensor) -> Tensor:
        """``[..., H, W]`` to ``[..., h, w]``."""
        return maps[..., self.rows, :][..., self.columns]
