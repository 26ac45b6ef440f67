"""Where the tokens' regions come from."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer

SPREAD = 0.1  # of the token budget


def cells(height: int, width: int, grid: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """``[H, W]`` int64: the cell of a grid that each pixel lies in, for grids that need not divide the image."""
    y, x = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
    return y * grid[0] // height * grid[1] + x * grid[1] // width


class CellTokenizer(nn.Module):
    """The partition into the cells of a grid that need not divide the image, without means: made once for images of one shape."""

    def __init__(self, grid: tuple[int, int]):
        super().__init__()
        self.grid = grid
        self._made: dict[tuple, Partition] = {}

    def forward(self, images: Tensor) -> Partition:
        """``[B, 3, H, W]`` to a partition."""
        kind = (len(images), *images.shape[2:], images.device)
        if kind not in self._made:
            with torch.inference_mode(False):  # training may meet what an evaluation made
                labels = cells(*images.shape[2:], self.grid, images.device).expand(len(images), -1, -1)
                partition = Partition.from_labels(labels, torch.zeros_like(images[:, :1]))
            self._made[kind] = replace(partition, max_regions=self.grid[0] * self.grid[1])
        return self._made[kind]


def build_tokenizer(name: str, grid: tuple[int, int], number: float | None = None, room: int | None = None) -> nn.Module:
    """The tokenizer of a kind of :data:`variants.PARTITIONS` with as many regions as the grid has patches.

    Args:
        name: The kind.
        grid: Patches along y and x.
        number: How even sizes are, see :class:`variants.Variant`.
        room: Regions of a batch before the budget that there is room for, so that the partition is of a fixed length, as CUDA graphs need
            it. The soft budget can't have it.
    """
    total = grid[0] * grid[1]
    if name in ('plain', 'grid'):
        return CellTokenizer(grid)
    budget = dict(mode='hard' if name == 'spread' else name, train=total, test=total)
    if name == 'spread' or number is not None:
        budget['spread'] = SPREAD if number is None else number
    return DHTTokenizer(compactness=0.01, norm_eval=True, token_budget=budget, capacity=None if name == 'soft' else room)
