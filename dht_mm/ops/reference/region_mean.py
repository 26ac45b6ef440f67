"""Means over regions, in plain tensor operations."""

import torch
from torch import Tensor

from .packing import packed_labels


def region_mean(features: Tensor, labels: Tensor, offsets: Tensor, size: Tensor) -> Tensor:
    """See :func:`dht_mm.ops.region_mean`."""
    rows = features.movedim(1, -1).flatten(0, 2).double()
    total = rows.new_zeros(len(size), rows.shape[1]).index_add(0, packed_labels(labels, offsets).flatten(), rows)
    return torch.where((size > 0)[:, None], total / size[:, None], 0.0).to(features.dtype)
