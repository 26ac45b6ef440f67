"""The forms in which a backbone hands over the tokens of one block."""

import torch
from torch import Tensor

from dht_mm.ops import pool_cells
from dht_mm.structures import Partition


def raw(prefix: Tensor, regions: Tensor, partition: Partition) -> Tensor:
    """``[B, P, D]`` prefix tokens and ``[R, D]`` regions to ``[B, P + L, D]``, zero-padded to the longest image.

    L is that image's regions, or ``max_regions`` of a partition that has it.
    """
    batch, num_prefix, dims = prefix.shape
    image = partition.image_index
    label = torch.arange(len(image), device=image.device) - partition.offsets.long()[image]
    longest = int(partition.num_regions.max()) if partition.max_regions is None else partition.max_regions
    place = torch.where(partition.size > 0, image * longest + label, batch * longest)  # spare rows go behind the last image
    padded = regions.new_zeros(batch * longest + 1, dims).index_copy(0, place, regions)
    return torch.cat([prefix, padded[:-1].view(batch, longest, dims)], 1)


def without_spare(regions: Tensor, partition: Partition) -> Tensor:
    """``[R, D]`` regions with zeros in the rows of a partition of a fixed length that belong to none."""
    return regions if partition.max_regions is None else regions.masked_fill((partition.size == 0)[:, None], 0)


def feature_map(regions: Tensor, partition: Partition, stride: int) -> Tensor:
    """``[R, D]`` regions to ``[B, D, ceil(H / stride), ceil(W / stride)]``: the mean over each cell's pixels."""
    return pool_cells(regions, partition.labels, partition.offsets, stride)


def pixel_mean(regions: Tensor, partition: Partition) -> Tensor:
    """``[R, D]`` regions to ``[B, D]``: the mean over each image's pixels."""
    height, width = partition.labels.shape[1:]
    share = partition.size.to(regions.dtype) / (height * width)
    mean = regions.new_zeros(len(partition), regions.shape[1])
    return mean.index_add(0, partition.image_index, regions * share[:, None])
