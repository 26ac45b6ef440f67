"""Cutting regions along the cells of a grid, in plain tensor operations."""

import torch
from torch import Tensor

from .components import merge_edges, number_roots
from .hierarchy import grid_edges
from .packing import fill_rows, packed_labels
from .position_histogram import cell_of_pixels
from .statistics import merge_boxes


def cut_regions(labels: Tensor, offsets: Tensor, grid: tuple[int, int], rows: int) -> tuple[Tensor, ...]:
    """Pure-torch implementation of :func:`dht_mm.ops.cut_regions`; ``rows`` is the length of the packed fields."""
    batch, height, width = labels.shape
    owner = packed_labels(labels, offsets).flatten()
    cell = cell_of_pixels(labels, grid).expand(batch, -1, -1).flatten()
    pixel = torch.arange(owner.numel(), device=owner.device)
    first, second = grid_edges(batch, height, width, owner.device)
    together = (owner[first] == owner[second]) & (cell[first] == cell[second])
    packed, first_pixels = number_roots(merge_edges(pixel, first[together], second[together]))
    parts = len(first_pixels)
    if parts > rows:
        raise ValueError(f'labels must be of connected regions: they have {parts} parts, more than {rows}')
    counts = torch.bincount(first_pixels // (height * width), minlength=batch)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    y, x = pixel // width % height, pixel % width
    box = merge_boxes(torch.stack([y, x, y, x]), packed, parts)
    fields = torch.bincount(packed, minlength=parts), box.T.contiguous(), owner[first_pixels]
    return ((packed.view(batch, height, width) - starts[:-1, None, None]).int(), starts.int(),
            *(fill_rows(field.int(), rows) for field in fields))
