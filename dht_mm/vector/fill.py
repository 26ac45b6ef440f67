"""What a region is filled with: its mean colour, or a linear gradient where that is much nearer to the image."""

from typing import NamedTuple

import numpy as np
from numpy import ndarray

EPSILON = 1e-9
RIDGE = 1e-3  # square pixels added to a region's spread, which keeps the fit of lines of pixels determined


class Gradients(NamedTuple):
    """Linear gradients of some regions.

    Attributes:
        regions: ``[G]`` int, labels, ascending.
        ends: ``[G, 2, 2]`` float, ``(x, y)`` in pixels where the gradient starts and stops.
        colors: ``[G, 2, 3]`` uint8 RGB at both ends.
    """

    regions: ndarray
    ends: ndarray
    colors: ndarray


class _Planes(NamedTuple):
    """Least squares of the colours of R regions along one direction each.

    Attributes:
        centre: ``[2, R]`` float, mean pixel centre ``(x, y)``.
        direction: ``[2, R]`` float, from which ``t = direction . (pixel - centre)``.
        slope: ``[3, R]`` float, change of colour with t.
        gain: ``[R]`` float, squared error that the gradient saves over the mean colour, summed over pixels and channels.
    """

    centre: ndarray
    direction: ndarray
    slope: ndarray
    gain: ndarray


def mean_colors(image: ndarray, labels: ndarray) -> ndarray:
    """Mean colour of each region: ``[R, 3]`` float.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        labels: ``[H, W]`` int from 0 to R - 1, all in use.
    """
    flat = labels.ravel()
    return np.stack([np.bincount(flat, weights=channel) for channel in image.reshape(-1, 3).T], 1) / np.bincount(flat)[:, None]


def rounded(colors: ndarray) -> ndarray:
    """Colours as uint8, halves rounded up."""
    return np.floor(np.clip(colors, 0, 255) + 0.5).astype(np.uint8)


def fit_gradients(image: ndarray, labels: ndarray, means: ndarray, least_gain: float) -> Gradients:
    """Gradients of the regions where they pay.

    A linear gradient has one direction for all three channels: of the least-squares plane of each channel it is the best common part
    (the largest singular value, in the metric of the region's pixels).

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        labels: ``[H, W]`` int from 0 to R - 1, all in use.
        means: ``[R, 3]`` float, mean colours.
        least_gain: Smallest saving of squared error, summed over pixels and channels, for which a gradient is taken.
    """
    if least_gain == np.inf:
        return Gradients(np.zeros(0, np.int64), np.zeros((0, 2, 2)), np.zeros((0, 2, 3), np.uint8))
    planes = _fit_planes(image, labels, means)
    regions = np.flatnonzero(planes.gain > max(least_gain, EPSILON))
    centre, direction, slope = (field[:, regions] for field in planes[:3])
    low, high = _extent(labels, regions, planes)
    along = np.stack([low, high])  # [2 ends, G]
    ends = centre + 0.5 + along[:, None] * direction / np.maximum((direction**2).sum(0), EPSILON)  # [2 ends, 2, G]
    colors = means[regions].T + along[:, None] * slope  # [2 ends, 3, G]
    return Gradients(regions, ends.transpose(2, 0, 1), rounded(colors.transpose(2, 0, 1)))


def _fit_planes(image: ndarray, labels: ndarray, means: ndarray) -> _Planes:
    height, width = labels.shape
    flat, count = labels.ravel(), len(means)
    x, y = np.tile(np.arange(width), height), np.repeat(np.arange(height), width)

    def total(weights: ndarray) -> ndarray:
        return np.bincount(flat, weights=weights, minlength=count)

    size = np.bincount(flat, minlength=count)
    centre_x, centre_y = total(x) / size, total(y) / size
    xx = total(x * x) - size * (centre_x**2 - RIDGE)
    yy = total(y * y) - size * (centre_y**2 - RIDGE)
    xy = total(x * y) - size * centre_x * centre_y
    channels = image.reshape(-1, 3).T.astype(np.int64)
    along_x = np.stack([total(x * channel) for channel in channels]) - size * centre_x * means.T
    along_y = np.stack([total(y * channel) for channel in channels]) - size * centre_y * means.T
    # Cholesky factor of the moments, in whose metric the best common direction is a singular vector.
    a, b = np.sqrt(xx), xy / np.sqrt(xx)
    c = np.sqrt(np.maximum(yy - b * b, EPSILON))
    first, second = along_x / a, (along_y - along_x * b / a) / c
    p, q, r = (first**2).sum(0), (first * second).sum(0), (second**2).sum(0)
    angle = np.arctan2(2 * q, p - r) / 2
    cosine, sine = np.cos(angle), np.sin(angle)
    gain = p * cosine**2 + 2 * q * cosine * sine + r * sine**2
    direction = np.stack([(cosine - b / c * sine) / a, sine / c])
    return _Planes(np.stack([centre_x, centre_y]), direction, first * cosine + second * sine, gain)


def _extent(labels: ndarray, regions: ndarray, planes: _Planes) -> tuple[ndarray, ndarray]:
    """Least and largest t of the pixel centres of some regions: two ``[G]`` float."""
    width = labels.shape[1]
    rank = np.full(planes.gain.size, -1)
    rank[regions] = np.arange(len(regions))
    group = rank[labels.ravel()]
    pixels = np.flatnonzero(group >= 0)
    pixels = pixels[np.argsort(group[pixels].astype(np.uint16 if len(regions) < 2**16 else np.int64), kind='stable')]
    if not len(pixels):
        return np.zeros(0), np.zeros(0)
    owner = regions[group[pixels]]
    y, x = np.divmod(pixels, width)
    along = planes.direction[0, owner] * (x - planes.centre[0, owner]) + planes.direction[1, owner] * (y - planes.centre[1, owner])
    begin = np.flatnonzero(np.diff(owner, prepend=-1))
    return np.minimum.reduceat(along, begin), np.maximum.reduceat(along, begin)
