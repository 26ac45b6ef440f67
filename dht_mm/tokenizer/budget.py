"""Token budgets: how many regions a partition may keep (paper section 3.4)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dht_mm.ops import hard_merge, soft_merge
from dht_mm.structures import Partition


@dataclass(frozen=True)
class TokenBudget:
    """How many regions to keep, and how strictly.

    Attributes:
        mode: ``'soft'`` keeps about the target (the paper's merge), ``'hard'`` never more.
        train: Target in training; ``None`` is ``round(sqrt(N))`` for images of N pixels.
        test: Target in evaluation; ``None`` is ``round(sqrt(N) / 0.56)``.

    Raises:
        ValueError: A value is out of its range.
    """

    mode: str
    train: int | None = None
    test: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in ('soft', 'hard'):
            raise ValueError(f"token_budget mode must be 'soft' or 'hard', got {self.mode!r}")
        for name in ('train', 'test'):
            target = getattr(self, name)
            if target is not None and (isinstance(target, bool) or not isinstance(target, int) or target < 1):
                raise ValueError(f'token_budget {name} must be a positive integer or None, got {target!r}')

    def target(self, num_pixels: int, training: bool) -> int:
        """Regions to keep in an image of ``num_pixels`` pixels."""
        asked, default = (self.train, num_pixels**0.5) if training else (self.test, num_pixels**0.5 / 0.56)
        return max(1, round(default)) if asked is None else asked

    def assign(self, partition: Partition, training: bool, kernel: str) -> Tensor:
        """``[R]`` int64: row of each region in the merged partition.

        In training the soft budget's sample is drawn with a seed from torch's global generator and each image's own regions.
        """
        height, width = partition.labels.shape[1:]
        target = self.target(int(height * width), training)  # torch.jit.trace makes tensors of sizes
        labels, offsets, size, color = partition.labels, partition.offsets, partition.size, partition.color
        if self.mode == 'hard':
            return hard_merge(labels, offsets, size, color, target)
        seed = int(torch.randint(2**62, ())) if training else None
        return soft_merge(labels, offsets, size, partition.bbox, color, target, seed=seed, kernel=kernel)


def merge_regions(partition: Partition, parent: Tensor) -> Partition:
    """Unite regions; means are weighted by size and stay differentiable. ``color`` is left for the caller to predict anew.

    Args:
        partition: The regions.
        parent: ``[R]`` int64, row of each region in the result, canonical, not mixing images.
    """
    image = partition.image_index.new_zeros(int(parent.max()) + 1).scatter_(0, parent, partition.image_index)
    num_regions = torch.bincount(image, minlength=len(partition))
    offsets = torch.cat([num_regions.new_zeros(1), num_regions.cumsum(0)])
    total = len(image)
    size = partition.size.new_zeros(total).index_add(0, parent, partition.size)
    box, rows = partition.bbox, parent[:, None].expand(-1, 2)
    low = box.new_full((total, 2), torch.iinfo(box.dtype).max).scatter_reduce(0, rows, box[:, :2], 'amin')
    high = box.new_full((total, 2), -1).scatter_reduce(0, rows, box[:, 2:], 'amax')
    share = partition.size.double() / size.double()[parent]
    mean = share.new_zeros(total, partition.mean.shape[1]).index_add(0, parent, partition.mean.double() * share[:, None])
    labels = parent[partition.packed_labels] - offsets[:-1, None, None]
    return replace(partition, labels=labels.int(), num_regions=num_regions.int(), offsets=offsets.int(), bbox=torch.cat([low, high], 1),
                   size=size, mean=mean.to(partition.mean.dtype))
