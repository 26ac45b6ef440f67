"""Statistics of regions from those of their children (paper eq. 5), independent of the order of addition.

Terms are rounded once to 64-bit fixed point and added as integers. The unit follows from the image alone (its pixel count and the
largest feature in it), so nothing depends on the batch, the threads or the order of atomics.
"""

import torch
from torch import Tensor

from .exact_math import power_of_two, split_exponent

# Smallest sqrt(w): where all weights of a component vanish its mean is by size, and gradients stay finite.
SMALLEST_ROOT_WEIGHT = 2.0**-20


def feature_exponent(features: Tensor) -> Tensor:
    """Smallest exponent ``e >= -64`` with ``|f| < 2^e`` over an image: ``[d, B, N]`` to ``[B]`` int64."""
    return exponent_of(features.abs().amax((0, 2)))


def exponent_of(largest: Tensor) -> Tensor:
    """Smallest exponent ``e >= -64`` with ``x < 2^e`` of non-negative values: int64."""
    return split_exponent(largest.double().clamp_min(2.0**-65))[1] + 1


def segment_sum(terms: Tensor, unit_exponent: Tensor, parent: Tensor, num_parents: int) -> Tensor:
    """Exact sums of ``[k, n]`` float64 terms over parents, in units of ``2^-unit_exponent`` ``[n]``: ``[k, num_parents]`` int64."""
    units = (terms * power_of_two(unit_exponent)).round().long()
    total = units.new_zeros(len(terms), num_parents)
    return total.scatter_add_(1, parent.expand_as(units), units)


def merge_moments(mean: Tensor, variance: Tensor, weight: Tensor, parent: Tensor, num_parents: int,
                  exponent: Tensor, size_bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted mean and variance of parents.

    Args:
        mean: ``[d, n]`` float, means of the children.
        variance: ``[d, n]`` float, their variances.
        weight: ``[n]`` float64, ``alpha = m sqrt(w*)``, at most the child's pixels.
        parent: ``[n]`` int64.
        num_parents: Number of parents, ``p``.
        exponent: ``[n]`` int64, ``feature_exponent`` of the child's image.
        size_bits: ``ceil(log2(N))`` of the images' pixel count.

    Returns:
        Mean and variance, ``[d, p]``, rounded once to the dtype of ``mean``, and the sum of weights, ``[p]`` float64. A parent of one
        child has its child's values.
    """
    f, s = mean.double(), variance.double()
    unit = torch.full_like(exponent, 61 - size_bits)
    total = segment_sum(weight[None], unit, parent, num_parents)
    first = segment_sum(weight * f, unit - exponent, parent, num_parents)
    second = segment_sum(weight * (s + f * f), unit - 2 * exponent - 1, parent, num_parents)
    scale = exponent.new_zeros(num_parents).scatter_(0, parent, exponent)
    new_mean = first.double() / total.double() * power_of_two(scale)
    new_variance = (second.double() / total.double() * power_of_two(2 * scale + 1) - new_mean * new_mean)
    new_variance = new_variance.clamp(0.0, torch.finfo(mean.dtype).max)
    moments = _keep_only_children(mean, variance, new_mean.to(mean.dtype), new_variance.to(mean.dtype), parent)
    return *moments, total[0].double() * 2.0**(size_bits - 61)


def _keep_only_children(mean: Tensor, variance: Tensor, new_mean: Tensor, new_variance: Tensor,
                        parent: Tensor) -> tuple[Tensor, Tensor]:
    alone = (torch.bincount(parent, minlength=new_mean.shape[1]) == 1)[parent]
    new_mean[:, parent[alone]] = mean[:, alone]
    new_variance[:, parent[alone]] = variance[:, alone]
    return new_mean, new_variance


def merge_boxes(box: Tensor, parent: Tensor, num_parents: int) -> Tensor:
    """Bounding boxes of parents: ``[4, n]`` int64 planes ymin, xmin, ymax, xmax to ``[4, num_parents]``."""
    low = box.new_full((2, num_parents), torch.iinfo(torch.int32).max).scatter_reduce(1, parent.expand(2, -1), box[:2], 'amin')
    high = box.new_full((2, num_parents), -1).scatter_reduce(1, parent.expand(2, -1), box[2:], 'amax')
    return torch.cat([low, high])
