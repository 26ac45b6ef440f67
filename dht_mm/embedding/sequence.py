"""The order of tokens in a packed sequence: image after image, each image's prefix tokens and then its regions by label."""

import torch
from torch import Tensor

from dht_mm.structures import Partition


def sequence_offsets(partition: Partition, num_prefix: int) -> Tensor:
    """``[B + 1]`` int32: start of each image's tokens in the sequence, and its end (the ``cu_seqlens`` of attention)."""
    images = torch.arange(len(partition) + 1, dtype=torch.int32, device=partition.offsets.device)
    return partition.offsets + num_prefix * images


def join(prefix: Tensor, regions: Tensor, partition: Partition) -> Tensor:
    """Put the same prefix tokens in front of the regions of every image.

    Args:
        prefix: ``[P, D]``, P >= 0.
        regions: ``[R, D]``, row order as in ``partition``.
        partition: Where the regions lie.

    Returns:
        ``[B P + R, D]`` in the dtype of ``prefix``, so that the sequence stays float32 under autocast.
    """
    images, num_prefix = len(partition), len(prefix)
    order = torch.cat([_prefix_places(partition, num_prefix), _region_places(partition, num_prefix)])
    rows = torch.cat([prefix.expand(images, -1, -1).flatten(0, 1), regions.to(prefix.dtype)])
    return torch.empty_like(rows).index_copy_(0, order, rows)  # into what nothing else sees, so that it is not copied first


def split(sequence: Tensor, partition: Partition, num_prefix: int) -> tuple[Tensor, Tensor]:
    """Undo :func:`join`: ``[B P + R, D]`` to prefix tokens ``[B, P, D]`` and regions ``[R, D]``."""
    prefix = sequence.index_select(0, _prefix_places(partition, num_prefix))
    regions = sequence.index_select(0, _region_places(partition, num_prefix))
    return prefix.view(len(partition), num_prefix, sequence.shape[1]), regions


def _prefix_places(partition: Partition, num_prefix: int) -> Tensor:
    starts = sequence_offsets(partition, num_prefix)[:-1].long()
    return (starts[:, None] + torch.arange(num_prefix, device=starts.device)).flatten()


def _region_places(partition: Partition, num_prefix: int) -> Tensor:
    image = partition.image_index
    return torch.arange(len(image), device=image.device) + num_prefix * (image + 1)
