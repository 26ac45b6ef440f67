"""Where the tokens' regions come from."""

import math

import torch
from torch import Tensor, nn

from dht_mm.ops import hard_merge, region_mean
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer, QuadtreeTokenizer
from dht_mm.tokenizer.budget import merge_regions

SPLIT = 2  # regions are cut along a grid of this many patches a side before they are merged evenly
ROUNDS = 4  # so many parts can lie between a part and the core that it joins
SNAP = 0.25  # default weight of a part's place, see SnappedTokenizer
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


class SquaresTokenizer(nn.Module):
    """The squares of a quadtree, the smallest of half the side of ``num_regions`` equal ones."""

    def __init__(self, num_regions: int):
        super().__init__()
        self.num_regions = num_regions

    def forward(self, images: Tensor) -> Partition:
        """``[B, 3, H, W]`` to a partition."""
        side = math.sqrt(images.shape[2] * images.shape[3] / self.num_regions)
        return QuadtreeTokenizer(self.num_regions, max(1, round(side / 2)))(images)


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
        cell: ``[H, W]`` int64, or ``[B, H, W]``.
    """
    batch, height, width = partition.labels.shape
    count, total = int(cell.max()) + 1, partition.total_regions
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


class SnappedTokenizer(DHTTokenizer):
    """The cells of a coarse partition with borders that follow those of dHT's regions, in the same order.

    The regions are cut along the cells. The largest part of a cell is its core; other parts join the neighbour whose core is most
    like them in colour and place, in rounds from the cores outwards, and what no neighbour reaches stays with its cell's core.

    Args:
        cells: Makes the coarse partition.
        grid: Patches along y and x of the plain ViT.
        weight: Of a part's place, in units of the normalised image a patch.
        **options: Of the tokenizer.
    """

    def __init__(self, cells: nn.Module, grid: tuple[int, int], weight: float, **options: object):
        super().__init__(**options)
        self.cells, self.grid, self.weight = cells, grid, weight

    def forward(self, images: Tensor) -> Partition:
        """``[B, 3, H, W]`` to a partition, not in the order of first pixels."""
        coarse = self.cells(images)
        parts = split_by_cells(super().forward(images), coarse.labels.long())
        look = torch.cat([images, places(images, self.weight * self.grid[0] / images.shape[2])], 1)
        look = region_mean(look, parts.labels, parts.offsets, parts.size)
        return self._colored(unite(parts, snap(parts, coarse, look), coarse))


def snap(parts: Partition, coarse: Partition, look: Tensor) -> Tensor:
    """``[P]`` int64: which cell each part of one joins; see :class:`SnappedTokenizer`.

    Args:
        parts: Parts of cells.
        coarse: The cells.
        look: ``[P, D]``, what similar parts are near in.
    """
    packed, total, count = parts.packed_labels, len(look), coarse.total_regions
    cell = packed.new_empty(total)
    cell[packed.flatten()] = coarse.packed_labels.flatten()
    number = torch.arange(total, device=cell.device)
    largest = cell.new_zeros(count).scatter_reduce(0, cell, parts.size.long() * total + total - 1 - number, 'amax')
    core = total - 1 - largest % total
    owner = torch.full_like(cell, -1)
    owner[core] = torch.arange(count, device=cell.device)
    first, second = neighbours(packed, total)
    for _ in range(ROUNDS):
        reached = owner[second]
        cost = (look[first] - look[core[reached]]).square().sum(1)
        key = torch.where((owner[first] < 0) & (reached >= 0), (cost * 2**16).long() * count + reached, 2**62)
        best = torch.full_like(cell, 2**62).scatter_reduce(0, first, key, 'amin')
        owner = torch.where(best < 2**62, best % count, owner)
    return torch.where(owner < 0, cell, owner)


def neighbours(packed: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """``[N]`` and ``[N]``: every ordered pair of regions of ``[B, H, W]`` that have a common border."""
    keys = []
    for one, other in ((packed[:, 1:], packed[:, :-1]), (packed[:, :, 1:], packed[:, :, :-1])):
        one, other = one[one != other], other[one != other]
        keys += [one * total + other, other * total + one]
    keys = torch.cat(keys).unique()
    return keys // total, keys % total


def unite(parts: Partition, owner: Tensor, coarse: Partition) -> Partition:
    """The partition whose regions are those parts that one cell owns, in the order of the cells, without colours."""
    packed = owner[parts.packed_labels]
    size = coarse.size.new_zeros(coarse.total_regions).index_add(0, owner, parts.size)
    mean = parts.mean.new_zeros(len(size), parts.mean.shape[1]).index_add(0, owner, parts.mean * parts.size[:, None]) / size[:, None]
    labels = (packed - coarse.offsets[:-1, None, None]).int()
    return Partition(labels, coarse.num_regions, coarse.offsets, _boxes(packed.flatten(), len(size), *labels.shape[1:]), size, mean, mean)


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
    if name in ('quad', 'quadsnap', 'snap'):
        cells = CellTokenizer(grid) if name == 'snap' else SquaresTokenizer(total)
        number = SNAP if number is None else number
        return cells if name == 'quad' else SnappedTokenizer(cells, grid, number, compactness=0.01, norm_eval=True)
    budget = dict(mode=name, train=total, test=total)
    return DHTTokenizer(compactness=0.01, norm_eval=True, token_budget=budget)
