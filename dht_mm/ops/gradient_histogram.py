"""What regions look like inside: the joint histogram of each region's image derivatives."""

import torch
from torch import Tensor

from .backend import contiguous_ints, use_ext
from .checks import check_count, check_labels, check_positive
from .op import define
from .reference import gradient_histogram as reference

LARGEST_BINS = 46340  # its square is the number of columns


def gradient_histogram(gradient: Tensor, labels: Tensor, offsets: Tensor, total_regions: int, bins: int) -> Tensor:
    """Count the pixels of each region by their derivatives along y and x (paper, region features).

    A derivative ``g`` in (-1, 1) falls into bin ``floor((g + 1) * bins / 2)``; values beyond fall into the outermost bins. Counts
    pass no gradient.

    Args:
        gradient: ``[B, 2, H, W]`` float, derivatives along y and x; read in float32.
        labels: ``[B, H, W]`` integer, the region of each pixel, numbered per image.
        offsets: ``[B + 1]`` integer, first row of each image.
        total_regions: Regions ``R`` of the batch, ``offsets[-1]``.
        bins: Bins along each of the two derivatives.

    Returns:
        ``[R, bins * bins]`` int32, y-major. A row sums to the size of its region.

    Raises:
        TypeError: ``labels`` or ``offsets`` are not integers.
        ValueError: The shapes do not fit together, or ``bins`` is not a positive integer.
    """
    check_labels(labels, offsets, gradient=gradient)
    check_count(total_regions=total_regions)
    check_positive(bins=bins)
    if bins > LARGEST_BINS:
        raise ValueError(f'bins must be at most {LARGEST_BINS}, got {bins}')
    if gradient.dim() != 4 or gradient.shape[1] != 2 or (gradient.shape[0], *gradient.shape[2:]) != labels.shape:
        raise ValueError(f'gradient must be [B, 2, H, W] for labels of {tuple(labels.shape)}, got {tuple(gradient.shape)}')
    return _gradient_histogram(gradient.detach().float(), labels, offsets, total_regions, bins)


@define('gradient_histogram', '(Tensor gradient, Tensor labels, Tensor offsets, SymInt total_regions, int bins) -> Tensor')
def _gradient_histogram(gradient, labels, offsets, total_regions, bins):
    if use_ext(gradient):
        return torch.ops.dht_mm_ext.gradient_histogram(
            gradient.contiguous(), *contiguous_ints(labels, offsets), total_regions, bins)
    return reference.gradient_histogram(gradient, labels, offsets, total_regions, bins)


@_gradient_histogram.register_fake
def _(gradient, labels, offsets, total_regions, bins):
    return labels.new_empty(total_regions, bins**2, dtype=torch.int32)
