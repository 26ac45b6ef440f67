"""The place and extent of regions."""

import math
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dht_mm.ops import position_histogram
from dht_mm.ops.checks import check_positive
from dht_mm.structures import Partition

REFERENCE_SCALE = 32


class PositionFeatures(nn.Module):
    """Histogram of each region's pixels over a coarse grid, by share and not by count (paper, region features).

    Args:
        grid: Cells along y and x; one number for both.
        scale: ``sigma``; shares are divided by ``(sigma / 32)^2``. None is the side of the grid, for a grid that is not square
            that of the square with as many cells.

    Attributes:
        dims: Length of a row, the number of cells.

    Raises:
        ValueError: An argument is not positive.
    """

    def __init__(self, grid: int | tuple[int, int], scale: float | None = None):
        super().__init__()
        self.grid = tuple(grid) if isinstance(grid, (tuple, list)) else (grid, grid)
        if len(self.grid) != 2:
            raise ValueError(f'grid must be a number of cells or two, along y and along x, got {grid!r}')
        check_positive(grid_y=self.grid[0], grid_x=self.grid[1])
        self.dims = math.prod(self.grid)
        self.scale = math.sqrt(self.dims) if scale is None else scale
        if not isinstance(self.scale, Real) or not 0 < self.scale < math.inf:
            raise ValueError(f'scale must be positive and finite, got {scale!r}')

    def forward(self, image: Tensor, partition: Partition) -> Tensor:
        """``[R, cells]``, y-major, in the dtype of the ``[B, C, H, W]`` images, whose values do not matter."""
        counts = position_histogram(partition.labels, partition.offsets, partition.total_regions, self.grid)
        return shares(counts, partition, self.scale, image.dtype)

    @torch.no_grad()
    def at(self, place: Tensor) -> Tensor:
        """Rows of points: the weights with which cells are interpolated bicubically there, a cell's own in its middle.

        Args:
            place: ``[R, 2]``, y and x as shares of the image's height and width.

        Returns:
            ``[R, cells]``, y-major, float32.
        """
        y, x = (_cubic(place[:, axis].float(), cells) for axis, cells in enumerate(self.grid))
        return (y[:, :, None] * x[:, None]).flatten(1) / (self.scale / REFERENCE_SCALE)**2


def _cubic(place: Tensor, count: int) -> Tensor:
    """``[R]`` shares of a line to ``[R, count]``, the weight of each of its cells."""
    each = torch.eye(count, device=place.device)[None, :, :, None]
    places = torch.stack([torch.zeros_like(place), 2 * place - 1], -1)[None, :, None]
    return F.grid_sample(each, places, mode='bicubic', padding_mode='border', align_corners=False)[0, :, :, 0].T


def shares(counts: Tensor, partition: Partition, scale: float, dtype: torch.dtype) -> Tensor:
    """Pixels of each region, ``[R, cells]``, as shares of all its pixels, divided by ``(scale / 32)^2``; spare rows are 0."""
    return counts.to(dtype) / (partition.size.clamp_min(1).to(dtype) * (scale / REFERENCE_SCALE)**2)[:, None]
