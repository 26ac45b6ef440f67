"""A cut of the hierarchy into regions of one level for each image, in plain tensor operations."""

import torch
from torch import Tensor

from .packing import fill_rows


def finer_cut(labels: Tensor, offsets: Tensor, node: Tensor, bbox: Tensor, size: Tensor, parent: Tensor, node_size: Tensor,
              node_bbox: Tensor, mean: Tensor, node_mean: Tensor, level_starts: Tensor, least: int, target: int,
              rows: int | None) -> tuple[Tensor, ...]:
    """Pure-torch implementation of :func:`dht_mm.ops.finer_cut`; ``least`` is the number of regions that a level should have.

    Returns:
        The first seven fields of ``Hierarchy``.
    """
    starts = level_starts.unique_consecutive().tolist()  # a hierarchy of a fixed length repeats its end
    level, first, count = _sources(parent, starts, offsets.long(), labels[0].numel(), least, target)
    ends = count.cumsum(0)
    total = int(ends[-1])
    rows = total if rows is None else rows
    if total > rows or starts == [0]:  # the hierarchy says that there is none by starts of 0
        return (torch.zeros_like(labels), torch.full_like(count, -1, dtype=torch.int32), torch.zeros_like(offsets, dtype=torch.int32),
                *(field.new_zeros(rows, *field.shape[1:]) for field in (node, bbox, size, mean)))
    image = torch.arange(len(count), device=count.device).repeat_interleave(count, output_size=total)
    source = torch.arange(total, device=count.device) + (first - ends + count)[image]
    kept, selected, above = level[image] == 0, source.clamp_max(len(size) - 1), (source - labels.numel()).clamp_min(0)

    def pick(of_regions: Tensor, of_nodes: Tensor) -> Tensor:
        chosen = kept if of_regions.dim() == 1 else kept[:, None]
        return fill_rows(torch.where(chosen, of_regions[selected], of_nodes[above]), rows)

    nodes = _nodes_of_pixels(parent, level, labels)
    return (
        torch.where(level[:, None, None] == 0, labels, nodes - first.int()[:, None, None]), count.int(),
        torch.cat([ends.new_zeros(1), ends]).int(), fill_rows(torch.where(kept, node[selected], source.int()), rows), pick(bbox, node_bbox),
        pick(size, node_size), pick(mean, node_mean))


def _sources(parent: Tensor, starts: list[int], offsets: Tensor, num_pixels: int, least: int,
             target: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where each image's regions come from, each ``[B]``.

    Returns:
        Its level, 0 for the selected regions; the first of its nodes there, or of the selected rows; and how many.
    """
    level, first, count = torch.zeros_like(offsets[1:]), offsets[:-1], offsets.diff()
    node = torch.arange(len(level), device=parent.device) * num_pixels
    for height, end in enumerate(starts[2:-1], 1):  # the last level is that of whole images
        node = parent[node].long()  # an image's first pixel lies in its first node
        nodes = torch.cat([node[1:], node.new_tensor([end])]) - node
        # From level to level there are never more nodes.
        found = (nodes >= least) if height > 1 else (nodes >= count) | (nodes >= target)
        level, first, count = (torch.where(found, *pair) for pair in ((height, level), (node, first), (nodes, count)))
    return level, first, count


def _nodes_of_pixels(parent: Tensor, level: Tensor, labels: Tensor) -> Tensor:
    """Node of the image's level above each pixel, ``[B, H, W]`` int32."""
    node = torch.arange(labels.numel(), dtype=torch.int32, device=labels.device).view(labels.shape)
    for height in range(int(level.max())):
        node = torch.where(level[:, None, None] > height, parent[node], node)
    return node
