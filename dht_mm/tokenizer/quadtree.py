"""Squares that are split where an image varies, as a partition: a quadtree."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dht_mm.registry import MODELS
from dht_mm.structures import Partition

from .check import check_images

LEVELS_PER_UNIT = 1024  # pixels are rounded to so many levels a unit: sums of integers do not depend on their order
LARGEST = 2**20  # in such levels; what is larger is cut off, so that sums of squares fit 64 bits up to 4 M pixels


@MODELS.register_module()
class QuadtreeTokenizer(nn.Module):
    """Partition images into squares, beginning with one around the image, of which those that vary are split into four (Finkel and
    Bentley, 1974).

    Squares are aligned to the image's upper left corner and cut off by its right and lower border. An image's result is its own and the
    same on all devices: the choice of the squares uses sums of integers and single float64 operations.

    Args:
        num_regions: The most regions of an image. Squares of the largest squared error are split first, and splitting ends before the
            first one that leads to more. With ``threshold=0`` it ends 0 to 2 short of this, where the image has as much to split.
            None splits all that ``threshold`` asks for.
        min_size: Side of the smallest squares in pixels; the others' are ``2^k`` times as long.
        threshold: Variance of a square's pixels, summed over channels in the unit of the (normalised) images, above which it is split.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(self, num_regions: int | None, min_size: int = 4, threshold: float = 0.0):
        super().__init__()
        for name, value in dict(num_regions=1 if num_regions is None else num_regions, min_size=min_size).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f'{name} must be a positive integer, got {value!r}')
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not threshold >= 0:
            raise ValueError(f'threshold must be a number of at least 0, got {threshold!r}')
        self.num_regions, self.min_size, self.threshold = num_regions, min_size, threshold

    def forward(self, images: Tensor) -> Partition:
        """``[B, C, H, W]`` float images to their partition; ``mean`` and ``color`` are the squares' mean pixels.

        Raises:
            TypeError: Images are not floating point.
            ValueError: Images are empty, not finite or not 4-dimensional.
        """
        check_images(images)
        levels = _pyramid(images, self.min_size)
        labels = _leaf_labels(self._splits(levels), levels[0].error)
        return Partition.from_labels(_within(_enlarge(labels, self.min_size), images), images)

    def _splits(self, levels: list['_Level']) -> list[Tensor]:
        """``[B, h, w]`` bool of each level but the finest, from fine to coarse: the squares that are split."""
        keys: list[Tensor] = []
        for level in levels[:0:-1]:  # the root first
            asked = level.error > self.threshold * LEVELS_PER_UNIT**2 * level.pixels
            # No square comes before the one that it lies in, whose error is larger but for rounding.
            bound = _within(_enlarge(keys[-1], 2), level.pixels) if keys else level.error
            keys.append(torch.where(asked, torch.minimum(level.error, bound), -1.0).where(bound >= 0, -1.0))
        if keys and self.num_regions is not None:
            children = [_pool(torch.ones_like(level.pixels), 2) for level in levels[-2::-1]]
            keys = _first_splits(keys, children, self.num_regions)
        return [key >= 0 for key in keys[::-1]]


@dataclass
class _Level:
    """Squares of one size: ``[h, w]`` pixels in the image and ``[B, h, w]`` squared error of their mean."""

    pixels: Tensor
    error: Tensor


def _pyramid(images: Tensor, min_size: int) -> list[_Level]:
    """All levels, from squares of side ``min_size`` to the single one around the image."""
    values = (images.detach().double() * LEVELS_PER_UNIT).round().clamp(-LARGEST, LARGEST).long()
    pixels, moments = torch.ones_like(values[0, 0]), torch.stack([values, values.square()])
    pixels, moments = _pool(pixels, min_size), _pool(moments, min_size)
    levels = [_Level(pixels, _squared_error(pixels, *moments))]
    while pixels.numel() > 1:
        pixels, moments = _pool(pixels, 2), _pool(moments, 2)
        levels.append(_Level(pixels, _squared_error(pixels, *moments)))
    return levels


def _pool(values: Tensor, side: int) -> Tensor:
    """Sums over squares of ``side`` in the last two dimensions, with zeros beyond the border."""
    height, width = values.shape[-2:]
    values = F.pad(values, (0, -width % side, 0, -height % side))
    return values.unflatten(-1, (-1, side)).unflatten(-3, (-1, side)).sum((-3, -1))


def _squared_error(pixels: Tensor, total: Tensor, squares: Tensor) -> Tensor:
    """``[B, h, w]`` sum over channels, one after the other, of ``sum x^2 - (sum x)^2 / n``."""
    error = squares.double() - total.double().square() / pixels
    first, *others = error.clamp(min=0).unbind(1)
    return sum(others, first)


def _enlarge(values: Tensor, side: int) -> Tensor:
    return values.repeat_interleave(side, -1).repeat_interleave(side, -2)


def _within(values: Tensor, like: Tensor) -> Tensor:
    """Cut to the height and width of another map."""
    return values[..., :like.shape[-2], :like.shape[-1]]


def _first_splits(keys: list[Tensor], children: list[Tensor], num_regions: int) -> list[Tensor]:
    """Keys with -1 wherever a split comes too late, in the order of keys, to stay within ``num_regions`` regions.

    A square's key is at most that of the square around it, which stands before it among equals: what a split square lies in is split.
    """
    flat = torch.cat([key.flatten(1) for key in keys], 1)
    gain = torch.cat([number.flatten() - 1 for number in children])
    ordered, order = flat.sort(dim=1, descending=True, stable=True)
    late = 1 + gain[order].cumsum(1) > num_regions
    flat = flat.scatter(1, order, ordered.masked_fill(late, -1.0))
    parts = flat.split([key[0].numel() for key in keys], 1)
    return [part.view_as(key) for part, key in zip(parts, keys, strict=True)]


def _leaf_labels(splits: list[Tensor], finest: Tensor) -> Tensor:
    """``[B, h, w]`` canonical labels of the finest squares: which unsplit square each lies in.

    A square's first pixel is that of its upper left finest square, so numbering by that is canonical.
    """
    height, width = finest.shape[1:]
    y, x = torch.arange(height, device=finest.device)[:, None], torch.arange(width, device=finest.device)
    corner = (y * width + x).expand(finest.shape)
    for level, split in enumerate(splits, 1):
        whole = (y >> level << level) * width + (x >> level << level)
        corner = torch.where(_within(_enlarge(split, 2**level), finest), corner, whole)
    corner = corner.flatten(1)
    starts = torch.zeros_like(corner).scatter_(1, corner, 1)
    return (starts.cumsum(1) - 1).gather(1, corner).view(finest.shape)
