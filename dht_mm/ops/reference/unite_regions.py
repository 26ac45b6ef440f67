"""Statistics of united regions, in plain tensor operations."""

import torch
from torch import Tensor

from .exact_math import power_of_two
from .packing import image_of_rows, packed_labels
from .statistics import exponent_of, merge_boxes


def _rows(parent: Tensor, total: int) -> Tensor:
    """``parent`` as an index; on the CPU, where nothing waits, it is checked."""
    if parent.device.type == 'cpu' and parent.numel() and not 0 <= int(parent.min()) <= int(parent.max()) < total:
        raise ValueError(f'parent must be in [0, {total}), got values from {int(parent.min())} to {int(parent.max())}')
    return parent.long()


def unite_regions(labels: Tensor, offsets: Tensor, size: Tensor, bbox: Tensor, parent: Tensor, merged_offsets: Tensor,
                  total: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pure-torch implementation of :func:`dht_mm.ops.unite_regions`; ``total`` is the last of ``merged_offsets``."""
    rows = _rows(parent, total)
    merged = parent[packed_labels(labels, offsets)] - merged_offsets[:-1, None, None]
    return merged, size.new_zeros(total).index_add_(0, rows, size), merge_boxes(bbox.T.long(), rows, total).T.int().contiguous()


def united_mean(mean: Tensor, offsets: Tensor, size: Tensor, parent: Tensor, united_size: Tensor, num_pixels: int) -> Tensor:
    """Pure-torch implementation of :func:`dht_mm.ops.united_mean`: sums in 64-bit fixed point, whose unit follows from the image."""
    rows, image = _rows(parent, len(united_size)), image_of_rows(offsets, len(size))
    largest = mean.new_zeros(len(offsets) - 1).scatter_reduce(0, image, mean.abs().amax(1), 'amax')
    bits = 61 - (num_pixels - 1).bit_length() - exponent_of(largest)
    terms = (size[:, None].double() * mean.double() * power_of_two(bits)[image, None]).round().long()
    sums = terms.new_zeros(len(united_size), mean.shape[1]).index_add_(0, rows, terms)
    back = torch.ones_like(united_size, dtype=torch.float64).index_copy_(0, rows, power_of_two(-bits)[image])
    united = (sums.double() * back[:, None] / united_size.clamp_min(1)[:, None]).to(mean.dtype)
    alone = (size == united_size[rows]).nonzero().squeeze(1)
    return united.index_copy_(0, rows[alone], mean[alone])
