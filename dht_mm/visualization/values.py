"""One number a region, painted on its pixels in colours that people with any colour vision can order."""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from dht_mm.vector.checks import Regions, label_map

COLORMAP = 'viridis'  # its lightness rises evenly, so it is read without hue, and in grey, too


def value_colors(values: Tensor | np.ndarray, low: float, high: float) -> np.ndarray:
    """The colours of numbers on the scale from ``low`` (dark) to ``high`` (light); numbers beyond its ends take the ends' colours.

    Args:
        values: Numbers of any shape.
        low: Lower end of the scale.
        high: Upper end; where both are equal, all numbers are at the lower end.

    Returns:
        ``[..., 3]`` uint8 RGB.

    Raises:
        ValueError: A number is not finite, or the ends are not finite or in the wrong order.
    """
    import matplotlib  # late: borders and mean colours do without it

    values = _as_array(values)
    if not np.isfinite(values).all():
        raise ValueError(f'values must be finite, got {values[~np.isfinite(values)][0]}')
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f'low and high must be finite and in this order, got {low} and {high}')
    share = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.asarray(matplotlib.colormaps[COLORMAP](share.clip(0, 1), bytes=True))[..., :3]


def paint_values(regions: Regions, values: Tensor | np.ndarray | Sequence[float], low: float | None = None,
                 high: float | None = None) -> np.ndarray:
    """Every pixel in the colour of its region's number, exact to the pixel.

    Args:
        regions: A partition of one image or a label map ``[H, W]``, numbered from 0.
        values: ``[R]``, a number for each label.
        low: Lower end of the scale of colours; the least number if None.
        high: Upper end; the largest number if None.

    Returns:
        ``[H, W, 3]`` uint8.

    Raises:
        TypeError: ``regions`` is of another type.
        ValueError: There is not one number for each label, or see :func:`value_colors`.
    """
    labels, values = label_map(regions), _as_array(values)
    check_rows('values', values, labels)
    colors = value_colors(values, float(values.min()) if low is None else low, float(values.max()) if high is None else high)
    return colors[labels]


def paint_colors(regions: Regions, colors: Tensor | np.ndarray) -> np.ndarray:
    """Every pixel in its region's own colour.

    Args:
        regions: A partition of one image or a label map ``[H, W]``, numbered from 0.
        colors: ``[R, 3]`` float RGB in [0, 1].

    Returns:
        ``[H, W, 3]`` uint8.

    Raises:
        TypeError: ``regions`` is of another type.
        ValueError: There is not one colour for each label, or it is not RGB in [0, 1].
    """
    labels, colors = label_map(regions), _as_array(colors)
    check_rows('colors', colors, labels)
    if colors.shape[1:] != (3,) or not (0 <= colors.min() and colors.max() <= 1):
        raise ValueError(f'colors must be [R, 3] in [0, 1], got shape {colors.shape} from {colors.min()} to {colors.max()}')
    return np.rint(255 * colors).astype(np.uint8)[labels]


def check_rows(name: str, rows: np.ndarray, labels: np.ndarray) -> None:
    """Raise ``ValueError`` unless there is exactly one row for each label from 0."""
    if rows.ndim < 1 or labels.min() < 0 or len(rows) != labels.max() + 1:
        raise ValueError(f'{name} must have a row for each label from 0 to {labels.max()}, got shape {rows.shape}')


def _as_array(values: Tensor | np.ndarray | Sequence[float]) -> np.ndarray:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
