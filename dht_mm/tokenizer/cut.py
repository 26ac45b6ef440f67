"""Where merging to an exact budget starts: a cut of the hierarchy that is finer than the regions to be left."""

import torch
from torch import Tensor

from dht_mm.ops import Hierarchy

# Regions to start from, for each that is to be left: the more, the better borders are followed, and the longer merging takes.
FINENESS = 5


def finer_cut(hierarchy: Hierarchy, target: int) -> Hierarchy:
    """Each image's regions at the coarsest level that has ``FINENESS`` times ``target`` of them, or at level 1 if none has.

    An image keeps its selected regions where level 1 has fewer than both these, since single pixels are among them, and ``target``.

    Args:
        hierarchy: The hierarchy, with the selected regions.
        target: Regions that are to be left.

    Returns:
        The hierarchy with the regions of the cut in the place of the selected ones.
    """
    starts = hierarchy.level_starts.tolist()[:-1]  # the last level is that of whole images
    if len(starts) == 2:  # images that are too small to have another
        return hierarchy
    images = _images_of_levels(hierarchy, starts)
    level, first, count = _coarsest(images, starts, FINENESS * target, len(hierarchy.labels))
    selected = hierarchy.num_regions.long()
    kept = (count < selected) & (count < target)
    node = _nodes_of_pixels(hierarchy, starts, images, level).view(hierarchy.labels.shape)
    labels = torch.where(kept[:, None, None], hierarchy.labels, node - first.int()[:, None, None])
    first, count = torch.where(kept, hierarchy.offsets[:-1].long(), first), torch.where(kept, selected, count)
    return _with_regions(hierarchy, labels, kept, first, count)


def _images_of_levels(hierarchy: Hierarchy, starts: list[int]) -> list[Tensor]:
    """Image of each node of every level, whole images left out."""
    batch, height, width = hierarchy.labels.shape
    images = [torch.arange(batch, device=hierarchy.labels.device).repeat_interleave(height * width)]
    for start, stop, end in zip(starts[:-2], starts[1:-1], starts[2:], strict=True):
        parent = hierarchy.parent[start:stop].long() - stop
        images.append(parent.new_empty(end - stop).scatter_(0, parent, images[-1]))
    return images


def _coarsest(images: list[Tensor], starts: list[int], least: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """The coarsest level at which an image has ``least`` nodes, else level 1; its first node there and their number: each ``[B]``."""
    counts = torch.stack([image.new_zeros(batch).index_add_(0, image, torch.ones_like(image)) for image in images])
    first = counts.cumsum(1) - counts + counts.new_tensor(starts[:-1])[:, None]
    level = (counts[1:] >= least).sum(0).clamp_min(1)  # from level to level there are never more nodes
    return level, first.gather(0, level[None])[0], counts.gather(0, level[None])[0]


def _nodes_of_pixels(hierarchy: Hierarchy, starts: list[int], images: list[Tensor], level: Tensor) -> Tensor:
    """Node of the image's level above each pixel, ``[BHW]`` int32: from the coarsest level down, nodes below it ask their parents."""
    above = hierarchy.parent.new_empty(0)
    for height in reversed(range(len(images))):
        own = torch.arange(starts[height], starts[height + 1], device=level.device, dtype=torch.int32)
        if height + 1 < len(images):
            parent = hierarchy.parent[starts[height]:starts[height + 1]].long() - starts[height + 1]
            own = torch.where(level[images[height]] > height, above[parent], own)
        above = own
    return above


def _with_regions(hierarchy: Hierarchy, labels: Tensor, kept: Tensor, first: Tensor, count: Tensor) -> Hierarchy:
    """Regions from each image's ``count`` rows from ``first`` on: rows of selected regions where ``kept``, else nodes."""
    offsets = torch.cat([count.new_zeros(1), count.cumsum(0)])
    total = int(offsets[-1])
    image = torch.arange(len(count), device=count.device).repeat_interleave(count, output_size=total)
    row = torch.arange(total, device=count.device) + (first - offsets[:-1])[image]
    kept, selected, node = kept[image], row.clamp_max(hierarchy.size.numel() - 1), (row - labels.numel()).clamp_min(0)

    def pick(of_regions: Tensor, of_nodes: Tensor) -> Tensor:
        return torch.where(kept if of_regions.dim() == 1 else kept[:, None], of_regions[selected], of_nodes[node])

    return hierarchy._replace(
        labels=labels, num_regions=count.int(), offsets=offsets.int(), node=torch.where(kept, hierarchy.node[selected], row.int()),
        bbox=pick(hierarchy.bbox, hierarchy.node_bbox), size=pick(hierarchy.size, hierarchy.node_size),
        mean=pick(hierarchy.mean, hierarchy.node_mean))
