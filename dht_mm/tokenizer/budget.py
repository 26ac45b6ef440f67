"""Token budgets: how many regions a partition may keep (paper section 3.4)."""

from dataclasses import dataclass, replace
from numbers import Real

import torch
from torch import Tensor

from dht_mm.ops import Hierarchy, finer_cut, hard_merge, soft_merge, unite_regions, united_mean
from dht_mm.structures import Partition

from .spread import cut_coarsely, with_places


@dataclass(frozen=True)
class TokenBudget:
    """How many regions to keep, and how strictly.

    Attributes:
        mode: ``'soft'`` keeps about the target (the paper's merge), ``'hard'`` never more, ``'exact'`` just as many, whatever number the
            criterion selects.
        train: Target in training; ``None`` is ``round(sqrt(N))`` for images of N pixels.
        test: Target in evaluation; ``None`` is ``round(sqrt(N) / 0.56)``.
        spread: How much evenness of size counts against colour; ``None`` leaves sizes to the colours. Regions are first cut along a grid
            of squares, twice as long as those of which the image has the target, and then merged with the place of their pixels as two
            further channels, in which such a square's half side is ``spread``, in units of the normalised image. Not for ``'soft'``.

    Raises:
        ValueError: A value is out of its range.
    """

    mode: str
    train: int | None = None
    test: int | None = None
    spread: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in ('soft', 'hard', 'exact'):
            raise ValueError(f"token_budget mode must be 'soft', 'hard' or 'exact', got {self.mode!r}")
        for name in ('train', 'test'):
            target = getattr(self, name)
            if target is not None and (isinstance(target, bool) or not isinstance(target, int) or target < 1):
                raise ValueError(f'token_budget {name} must be a positive integer or None, got {target!r}')
        if self.spread is None:
            return
        if isinstance(self.spread, bool) or not isinstance(self.spread, Real) or not 0 < self.spread < float('inf'):
            raise ValueError(f'token_budget spread must be a positive finite number or None, got {self.spread!r}')
        if self.mode == 'soft':
            raise ValueError(f"token_budget spread must be None with mode='soft', which does not look at pixels, got {self.spread!r}")

    def target(self, num_pixels: int, training: bool) -> int:
        """Regions to keep in an image of ``num_pixels`` pixels."""
        asked, default = (self.train, num_pixels**0.5) if training else (self.test, num_pixels**0.5 / 0.56)
        return max(1, round(default)) if asked is None else asked

    def cut(self, hierarchy: Hierarchy, training: bool, rows: int | None = None) -> Hierarchy:
        """The hierarchy with the regions to merge from in the place of the selected ones; ``rows`` is their number where it is fixed."""
        return finer_cut(hierarchy, self._target_of(hierarchy.labels, training), rows) if self.mode == 'exact' else hierarchy

    def merge(self, partition: Partition, images: Tensor, training: bool, kernel: str) -> Partition:
        """The partition merged to the budget; ``color`` is left for the caller to predict anew.

        A partition of a fixed length, which tells ``max_regions``, needs a hard or exact budget. It is merged to another of a fixed length:
        the target for each image, or the length that it has where that is less.

        In training the soft budget's sample is drawn with a seed from torch's global generator and each image's own regions.

        Args:
            partition: The regions.
            images: ``[B, C, H, W]`` float, the normalised images that they lie in.
            training: Which target holds, and whether to sample.
            kernel: Similarity of colours in the soft budget.
        """
        target = self._target_of(partition.labels, training)
        if self.mode == 'soft':
            seed = torch.randint(2**62, (), device='cpu') if training else None
            return merge_regions(partition, *soft_merge(partition.labels, partition.offsets, partition.size, partition.bbox,
                                                        partition.color, target, seed=seed, kernel=kernel))
        fixed = partition.max_regions is not None
        if self.spread is not None:
            partition, images = cut_coarsely(partition, target), with_places(images, target, self.spread)
        labels, offsets, size = partition.labels, partition.offsets, partition.size
        most = min(target, labels.shape[1] * labels.shape[2], partition.max_regions or target)
        rows = min(len(size), len(partition) * most) if fixed else None
        merged = merge_regions(partition, *hard_merge(images, labels, offsets, size, target), rows)
        return replace(merged, max_regions=most if fixed else None)

    def _target_of(self, labels: Tensor, training: bool) -> int:
        height, width = labels.shape[1:]
        return self.target(int(height * width), training)  # torch.jit.trace makes tensors of sizes


def merge_regions(partition: Partition, parent: Tensor, offsets: Tensor, rows: int | None = None) -> Partition:
    """Unite regions; means are weighted by size and stay differentiable. ``color`` is left for the caller to predict anew.

    Args:
        partition: The regions.
        parent: ``[R]`` int32, row of each region in the result, canonical, not mixing images.
        offsets: ``[B + 1]`` int32, first row of each image in the result.
        rows: Rows of the result, at least as many as it has regions; by default just as many.
    """
    labels, size, bbox = unite_regions(partition.labels, partition.offsets, partition.size, partition.bbox, parent, offsets, rows)
    mean = united_mean(partition.mean, partition.offsets, partition.size, parent, size, labels[0].numel())
    counts = offsets.diff()
    if rows is not None:  # the counts of regions that did not fit stay negative
        counts = torch.minimum(counts, partition.num_regions)
    return replace(partition, labels=labels, num_regions=counts, offsets=offsets, bbox=bbox, size=size, mean=mean)
