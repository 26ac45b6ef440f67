"""Where the tokens' regions come from."""

import torch
from torch import Tensor, nn

from dht_mm.ops import hard_merge
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.budget import merge_regions

SPLIT = 2  # regions are cut along a grid of this many patches a side before they are merged evenly
SPREAD = 0.1  # weight of a pixel's place against its colour, in units of the normalised image a patch


def cells(height: int, width: int, grid: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """``[H, W]`` int64: the cell of a grid that each pixel lies in, for grids that need not divide the image."""
    y, x = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
    return y * grid[0] // height * grid[1] + x * grid[1] // width


class CellTokenizer(nn.Module):
    """The partition into the cells of a grid that need not divide the image."""

    def __init__(self, grid: tuple[int, int]):
        super().__init__()
        self.grid = grid

    def forward(self, images: Tensor) -> Partition:
        """``[B, 3, H, W]`` to a partition."""
        return Partition.from_labels(cells(*images.shape[2:], self.grid, images.device).expand(len(images), -1, -1), images)


class EvenTokenizer(DHTTokenizer):
    """A dHT tokenizer whose regions are of even size: first cut along a coarse grid, then merged by colour and place.

    The hard budget merges the pair of neighbours whose pixels are described best by one Gaussian. With the pixels' place as two
    further channels that Gaussian also tells where they are, and the larger two regions are, the more their union costs.

    Args:
        grid: Patches along y and x.
        num_regions: Regions of an image, at most.
        spread: See :data:`SPREAD`.
        **options: Of the tokenizer.
    """

    def __init__(self, grid: tuple[int, int], num_regions: int, spread: float = SPREAD, **options: object):
        super().__init__(**options)
        self.coarse = tuple(max(1, side // SPLIT) for side in grid)
        self.grid, self.num_regions, self.spread = grid, num_regions, spread

    def forward(self, images: Tensor) -> Partition:
        """``[B, 3, H, W]`` to a partition."""
        partition = split_by_cells(super().forward(images), cells(*images.shape[2:], self.coarse, images.device))
        place = places(images, self.spread * self.grid[0] / images.shape[2])
        merge = hard_merge(torch.cat([images, place], 1), partition.labels, partition.offsets, partition.size, self.num_regions)
        return self._colored(merge_regions(partition, *merge))


def places(images: Tensor, unit: float) -> Tensor:
    """``[B, 2, H, W]``: y and x of every pixel, times ``unit``."""
    batch, _, height, width = images.shape
    y, x = (torch.arange(length, device=images.device, dtype=images.dtype) * unit for length in (height, width))
    return torch.stack([y[:, None].expand(height, width), x.expand(height, width)]).expand(batch, -1, -1, -1)


def split_by_cells(partition: Partition, cell: Tensor) -> Partition:
    """Cut regions along the borders of cells; parts keep their region's mean. A part need not be connected.

    Args:
        partition: The regions.
        cell: ``[H, W]`` int64.
    """
    batch, height, width = partition.labels.shape
    count, total = int(cell[-1, -1]) + 1, partition.total_regions
    key = (partition.packed_labels * count + cell).flatten()
    pixel = torch.arange(key.numel(), device=key.device)
    first = key.new_full((total * count,), key.numel()).scatter_reduce(0, key, pixel, 'amin')
    order = first[first < key.numel()].sort().values  # a part's first pixel tells its place among the parts
    number = torch.zeros_like(key)
    number[order] = torch.arange(len(order), device=key.device)
    packed = number[first[key]]
    num_regions = torch.bincount(order // (height * width), minlength=batch).int()
    offsets = torch.cat([num_regions.new_zeros(1), num_regions.cumsum(0).int()])
    labels = (packed.view(batch, height, width) - offsets[:-1, None, None]).int()
    size = torch.bincount(packed, minlength=len(order)).int()
    parent = partition.packed_labels.flatten()[order]
    return Partition(labels, num_regions, offsets, _boxes(packed, len(order), height, width), size, partition.mean.index_select(0, parent),
                     partition.color.index_select(0, parent))


def _boxes(packed: Tensor, total: int, height: int, width: int) -> Tensor:
    """``[R, 4]`` int32: inclusive ymin, xmin, ymax, xmax of the regions of ``[B H W]`` pixels."""
    pixel = torch.arange(len(packed), device=packed.device)
    place = pixel // width % height, pixel % width
    low, high = ([packed.new_full((total,), start).scatter_reduce(0, packed, axis, how) for axis in place]
                 for start, how in ((max(height, width), 'amin'), (0, 'amax')))
    return torch.stack([*low, *high], 1).int()


def build_tokenizer(name: str, grid: tuple[int, int], number: float | None = None) -> nn.Module:
    """The tokenizer of a kind of :data:`variants.PARTITIONS` with as many regions as the grid has patches."""
    total = grid[0] * grid[1]
    if name in ('plain', 'grid'):
        return CellTokenizer(grid)
    if name == 'spread':
        return EvenTokenizer(grid, total, SPREAD if number is None else number, compactness=0.01, norm_eval=True)
    budget = dict(mode=name, train=total, test=total)
    return DHTTokenizer(compactness=0.01, norm_eval=True, token_budget=budget)
