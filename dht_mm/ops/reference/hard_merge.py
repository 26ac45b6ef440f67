"""Merging neighbours until at most a given number of regions is left, in plain tensor operations."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .code_length import code_length, pixel_moments
from .packing import image_of_rows, packed_labels
from .region_graph import join_edges, number_merged, region_edges

# A round makes one of this many of the merges that it could make, rounded up: the cheapest ones.
SHARE_OF_ROUND = 4


@dataclass
class _Graph:
    """Regions under merging. A merged region lives on in the smallest row of its parts.

    Attributes:
        moments: ``[K, R]`` int64, see :func:`pixel_moments`.
        size: ``[R]`` int64.
        unit: ``[R]`` float64.
        label: ``[R]`` int64, label of each row in its image.
        first, second, length: ``[m]`` int64, see :func:`region_edges`.
    """

    moments: Tensor
    size: Tensor
    unit: Tensor
    label: Tensor
    first: Tensor
    second: Tensor
    length: Tensor

    def keys(self) -> Tensor:
        """Order of the edges of a region: by cost in float32, then by ``xor`` of the two labels, ``[m]`` int64."""
        both = self.moments[:, self.first] + self.moments[:, self.second]
        united = code_length(both, self.size[self.first] + self.size[self.second], self.unit[self.first])
        alone = code_length(self.moments, self.size, self.unit)
        gain = (united - (alone[self.first] + alone[self.second])).clamp_min(0.0)
        border = torch.zeros_like(self.size).index_add_(0, self.first, self.length).index_add_(0, self.second, self.length)
        share = self.length.double() / torch.minimum(border[self.first], border[self.second]).double()
        cost = (gain / (0.5 + share)).float().view(torch.int32).long()
        return (cost << 32) | (self.label[self.first] ^ self.label[self.second])

    def merge(self, edges: Tensor) -> Tensor:
        """Merge the ends of edges that share no end. Returns the row where each region lives on, ``[R]``."""
        keep, leave = self.first[edges], self.second[edges]
        self.moments[:, keep] += self.moments[:, leave]
        self.size[keep] += self.size[leave]
        into = torch.arange(self.size.numel(), device=self.size.device)
        into[leave] = keep
        self.first, self.second, self.length = join_edges(into[self.first], into[self.second], self.length)
        return into


def _cheapest_mutual(key: Tensor, graph: _Graph, image: Tensor, excess: Tensor) -> Tensor:
    """Edges to merge in this round, ``[k]`` indices: cheapest of both their ends, and of these a share of the cheapest."""
    best = torch.full_like(graph.size, torch.iinfo(torch.int64).max)
    best = best.scatter_reduce(0, graph.first, key, 'amin').scatter_reduce(0, graph.second, key, 'amin')
    mutual = ((best[graph.first] == key) & (best[graph.second] == key)).nonzero().squeeze(1)
    order = ((key[mutual] >> 32) << 32) | graph.label[graph.first[mutual]]
    mutual = mutual[torch.argsort(order)]
    mutual = mutual[torch.argsort(image[graph.first[mutual]], stable=True)]
    of_image = image[graph.first[mutual]]
    count = torch.bincount(of_image, minlength=excess.numel())
    take = (torch.minimum(count, excess) + SHARE_OF_ROUND - 1) // SHARE_OF_ROUND
    place = torch.arange(mutual.numel(), device=mutual.device) - (count.cumsum(0) - count)[of_image]
    return mutual[place < take[of_image]]


def hard_merge(image: Tensor, labels: Tensor, offsets: Tensor, size: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Pure-torch implementation of :func:`dht_mm.ops.hard_merge`."""
    total, offsets = size.numel(), offsets.long()
    of_image, root = image_of_rows(offsets, total), torch.arange(total, device=size.device)
    moments, unit = pixel_moments(image, labels, offsets, total)
    graph = _Graph(moments, size.long().clone(), unit[of_image], root - offsets[of_image], *region_edges(packed_labels(labels, offsets)))
    excess = offsets.diff() - target
    while True:
        over = excess[of_image[graph.first]] > 0
        graph.first, graph.second, graph.length = graph.first[over], graph.second[over], graph.length[over]
        if not over.any():
            return number_merged(root, of_image, len(labels))
        chosen = _cheapest_mutual(graph.keys(), graph, of_image, excess)
        excess = excess - torch.bincount(of_image[graph.first[chosen]], minlength=excess.numel())
        root = graph.merge(chosen)[root]
