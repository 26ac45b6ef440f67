"""Images and their partitions to SVG."""

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from .borders import fit_borders
from .checks import Regions, check_image, label_map
from .document import background_squares, document, gradient_elements, hex_colors, level_groups, painted_regions, path_elements
from .fill import fit_gradients, mean_colors, rounded
from .path_data import path_data
from .trace import trace

MOST_STEPS = 1000  # to a pixel


def vectorize(image: ndarray, regions: Regions, *, tolerance: float = 0.5, steps: int = 4, least_gain: float = math.inf,
              background: str | None = 'mean', merge_colors: bool = False, levels: Sequence[int] | ndarray | None = None,
              title: str = 'Regions of an image') -> str:
    """A partition as an SVG 1.1 document with one filled path for each region.

    Every border is traced and fitted once and shared by its two regions, so neighbours meet without gaps or overlaps. Holes are
    subpaths under the even-odd rule. No region is lost, however small.

    Args:
        image: ``[H, W, 3]`` uint8 RGB, from which the fills are taken.
        regions: A partition of one image or a label map ``[H, W]``; a label's pixels may lie apart.
        tolerance: Largest distance in pixels of the middles of the pixels' edges from the curve that follows them, and as much again
            where a joint of two pieces is smoothed. Where a region would vanish, its pixels' own outline is kept; 0 keeps it everywhere.
        steps: Coordinates are rounded to this fraction of a pixel; fewer steps make a smaller file.
        least_gain: A region is filled with a linear gradient where that lowers the squared error, summed over its pixels and channels
            (in levels from 0 to 255), by more than this. By default all fills are flat.
        background: What is below the regions, and shows only where a renderer leaves hairlines between them: ``'mean'`` for the
            image's mean colour, ``'squares'`` for squares of 32 pixels in the colour of their first one, a colour ``'#rrggbb'``, or
            None.
        merge_colors: Whether regions with the same mean colour become one path.
        levels: ``[R]`` int, level of the hierarchy of each region, in the order of the labels: paths are put in groups ``level-N``.
        title: The document's title.

    Returns:
        The text of the file, in which one user unit is one pixel.

    Raises:
        TypeError: ``image`` or ``regions`` is of another type.
        ValueError: An argument is out of its range, or ``regions`` has another size than ``image``.
    """
    labels, size = number(label_map(regions, check_image(image).shape[:2]))
    _check(tolerance, steps, least_gain, background)
    if merge_colors and levels is not None:
        raise ValueError('levels must be None with merge_colors=True, which unites regions of several levels')
    means = mean_colors(image, labels)
    if merge_colors:
        labels, size = number(_color_numbers(means)[labels])
        means = mean_colors(image, labels)
    planar = trace(labels)
    curves = fit_borders(planar, size, tolerance, steps)
    gradients = fit_gradients(image, labels, means, least_gain)
    fills = hex_colors(rounded(means))
    for index, region in enumerate(gradients.regions.tolist()):
        fills[region] = f'url(#g{index})'
    paths = path_elements(path_data(planar, curves, steps, len(size)), fills)
    if levels is not None:
        paths = level_groups(paths, _check_levels(levels, len(size)))
    return document(labels.shape, title, [
        *gradient_elements(gradients, steps), *_background(image, background), *painted_regions(paths, steps)])


def number(labels: ndarray) -> tuple[ndarray, ndarray]:
    """Labels numbered from 0 without gaps, in their order, and the pixels of each: ``[H, W]`` and ``[R]`` int."""
    if labels.min() >= 0 and labels.max() < labels.size:  # counted without sorting
        size = np.bincount(labels.ravel())
        used = size > 0
        return (np.cumsum(used) - 1)[labels], size[used]
    _, index, size = np.unique(labels, return_inverse=True, return_counts=True)
    return index.reshape(labels.shape), size


def _color_numbers(means: ndarray) -> ndarray:
    """``[R]`` int, a number for each rounded colour, in the order in which the regions show them first."""
    codes = rounded(means).astype(np.int64) @ (1 << np.array([16, 8, 0]))
    _, first, index = np.unique(codes, return_index=True, return_inverse=True)
    return first[index]


def _background(image: ndarray, background: str | None) -> list[str]:
    if background is None:
        return []
    if background == 'squares':
        return background_squares(image)
    color = hex_colors(rounded(image.mean((0, 1))[None]))[0] if background == 'mean' else background
    return [f'<rect width="100%" height="100%" fill="{color}"/>']


def _check(tolerance: float, steps: int, least_gain: float, background: str | None) -> None:
    if not 0 <= tolerance < math.inf:
        raise ValueError(f'tolerance must be a finite number of pixels, at least 0, got {tolerance}')
    if not isinstance(steps, (int, np.integer)) or not 1 <= steps <= MOST_STEPS:
        raise ValueError(f'steps must be an integer from 1 to {MOST_STEPS}, got {steps}')
    if not least_gain >= 0:
        raise ValueError(f'least_gain must be at least 0, got {least_gain}')
    if background not in (None, 'mean', 'squares') and not re.fullmatch('#[0-9a-fA-F]{6}', str(background)):
        raise ValueError(f"background must be 'mean', 'squares', '#rrggbb' or None, got {background!r}")


def _check_levels(levels: Sequence[int] | ndarray, count: int) -> ndarray:
    levels = np.asarray(levels)
    if levels.shape != (count,) or not np.issubdtype(levels.dtype, np.integer) or levels.min() < 0:
        raise ValueError(f'levels must be an integer of at least 0 for each of {count} regions, got {levels.dtype} of shape {levels.shape}')
    return levels
