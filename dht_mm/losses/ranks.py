"""Means over the items of all data-parallel processes."""

import torch
import torch.distributed as dist
from torch import Tensor


def mean_over_ranks(values: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean of ``values`` over all processes, as seen through the averaging of data-parallel training.

    Each process divides by the mean number of items per process and not by its own number, so that averaging the gradients over
    the processes gives the gradient of the mean over all items. Every process of the default group must take part.

    Args:
        values: Loss of each item of this process, of any shape; the number of items may differ between processes.
        counted: Bool of the same shape, the items that the mean is over; values of the others must be 0. None is all of them.

    Returns:
        Scalar. Without data-parallel training simply the mean; 0 where no item counts.
    """
    count = torch.tensor(values.numel(), device=values.device) if counted is None else counted.sum()
    return values.sum() / mean_per_rank(count).clamp_min(1 / _world_size())


def mean_per_rank(total: Tensor) -> Tensor:
    """Mean of a total of this process, such as a number of items, over all processes: what each must divide its sum by, see above.

    Every process of the default group must take part. No gradient passes. Without data-parallel training the total itself, as a float.
    """
    world, total = _world_size(), total.detach()
    if world > 1:
        total = total.clone()
        dist.all_reduce(total)
    return total / world


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
