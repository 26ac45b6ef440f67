"""Histograms of image derivatives, in plain tensor operations."""

from torch import Tensor

from .histogram import count
from .packing import packed_labels

LARGEST = 1 - 1e-7  # falls into the last bin; 1 would lie behind it


def gradient_histogram(gradient: Tensor, labels: Tensor, offsets: Tensor, total_regions: int, bins: int) -> Tensor:
    """See :func:`dht_mm.ops.gradient_histogram`."""
    index = ((gradient.clamp(-LARGEST, LARGEST) + 1) * bins / 2).long()
    index = index.clamp_max(bins - 1)  # rounding can carry the largest value up
    return count(packed_labels(labels, offsets), index[:, 0] * bins + index[:, 1], total_regions, bins**2)
