"""How many nats the pixels of a region cost in a Gaussian code of their own, in plain tensor operations.

A region of ``m`` pixels with covariance ``S`` of its channels costs ``m log det(S + noise)``, up to a factor and terms that merging
leaves alone. The noise keeps regions of one colour from costing minus infinity. It is in the units of normalised images: 0.1 is about
6 grey levels of 255.
"""

import torch
from torch import Tensor

from .exact_math import log, power_of_two
from .packing import packed_labels
from .statistics import feature_exponent

# Variances of the noise: of each channel alone, and of the brightness that all channels share.
CHANNEL_NOISE = 0.005
BRIGHTNESS_NOISE = 0.01


def value_bits(num_pixels: int) -> int:
    """Bits to which pixel values are rounded, so that sums of their products over an image fit in 63 bits."""
    return min(20, (62 - (num_pixels - 1).bit_length()) // 2)


def pixel_moments(image: Tensor, labels: Tensor, offsets: Tensor, total_regions: int) -> tuple[Tensor, Tensor]:
    """Sums of pixel values and of their products over each region, exact in integers.

    Args:
        image: ``[B, C, H, W]`` float.
        labels: ``[B, H, W]`` integer.
        offsets: ``[B + 1]`` integer.
        total_regions: Number of regions, ``R``.

    Returns:
        ``[C + C (C + 1) / 2, R]`` int64, sums of the channels, then of the products of channels ``(0, 0), (1, 0), (1, 1), (2, 0), ...``;
        and ``[B]`` float64, the unit of a pixel value in each image, a power of two.
    """
    channels, num_pixels = image.shape[1], labels[0].numel()
    planes = image.flatten(2).double()
    exponent = feature_exponent(image.flatten(2).transpose(0, 1)) - value_bits(num_pixels)
    values = (planes * power_of_two(-exponent)[:, None, None]).round().long().transpose(0, 1).flatten(1)
    products = [values[i] * values[j] for i in range(channels) for j in range(i + 1)]
    terms = torch.cat([values, torch.stack(products)])
    rows = packed_labels(labels, offsets).flatten()
    return terms.new_zeros(len(terms), total_regions).index_add_(1, rows, terms), power_of_two(exponent)


def code_length(moments: Tensor, size: Tensor, unit: Tensor) -> Tensor:
    """``m log det(S + noise)`` of each region, by Cholesky's elimination in a fixed order.

    Args:
        moments: ``[C + C (C + 1) / 2, n]`` int64, see :func:`pixel_moments`.
        size: ``[n]`` int64, pixels.
        unit: ``[n]`` float64, unit of a pixel value.

    Returns:
        ``[n]`` float64.
    """
    matrix = _noisy_covariance(moments, size.double(), unit)
    logarithm = torch.zeros_like(unit)
    for k in range(len(matrix)):
        pivot = matrix[k][k].clamp_min(CHANNEL_NOISE)
        logarithm = logarithm + log(pivot)
        for i in range(k + 1, len(matrix)):
            factor = matrix[i][k] / pivot
            for j in range(k + 1, i + 1):
                matrix[i][j] = matrix[i][j] - factor * matrix[j][k]
    return size.double() * logarithm


def _noisy_covariance(moments: Tensor, size: Tensor, unit: Tensor) -> list[list[Tensor]]:
    """Lower triangle, row by row."""
    channels = int((8 * len(moments) + 9) ** 0.5 - 3) // 2
    mean, product = (rows.double() / size for rows in (moments[:channels], moments[channels:]))
    square, rows = unit * unit, iter(product)
    return [[(next(rows) - mean[i] * mean[j]) * square + (BRIGHTNESS_NOISE + (CHANNEL_NOISE if i == j else 0.0))
             for j in range(i + 1)] for i in range(channels)]
