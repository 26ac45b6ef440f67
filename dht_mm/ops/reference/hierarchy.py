"""The hierarchy of regions and the partition selected from it, in plain tensor operations (paper section 3).

All nodes of a batch form one forest: level 0 are the pixels, every later level the components of the picked edges, and a last level
holds each whole image as one region. Nodes are numbered level after level, image after image, in raster order of first pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from . import components, statistics
from .criterion import score as information_score
from .edge_weight import KERNELS, compactness_of, quantize, unite
from .exact_math import sigmoid, sqrt


@dataclass
class _Level:
    """Regions of one level; planes are ``[channels, n]``, picks and parents count within their level."""

    mean: Tensor
    variance: Tensor
    size: Tensor
    box: Tensor
    image: Tensor
    score: Tensor
    alpha: Tensor = field(default=None)
    pick: Tensor = field(default=None)
    parent: Tensor = field(default=None)

    def __len__(self) -> int:
        return self.size.numel()


def grid_edges(batch: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Both ends ``[m]`` int64 of the edges between horizontal and vertical neighbours, pixels numbered through the batch."""
    index = torch.arange(batch * height * width, device=device).view(batch, height, width)
    first = torch.cat([index[:, :, :-1].flatten(), index[:, :-1].flatten()])
    second = torch.cat([index[:, :, 1:].flatten(), index[:, 1:].flatten()])
    return first, second


def num_levels(num_pixels: int) -> int:
    """``ceil(log2(sqrt(N)))``, by comparisons, so that a graph of changing N holds while the result is the same."""
    return sum(1 for level in range(16) if 4**level < num_pixels)


def self_weight(variance: Tensor, size: Tensor, box: Tensor, slope: Tensor, bias: Tensor, compactness: float) -> Tensor:
    """Weight of each region's edge to itself, ``(1 - c) sigmoid(a . s + b) + c rho``: planes ``[d, n]`` to ``[n]`` float64."""
    activation = slope.double()[0] * variance[0].double()
    for a, s in zip(slope.double()[1:], variance[1:].double(), strict=True):
        activation = activation + a * s
    return (1.0 - compactness) * sigmoid(activation + bias.double()) + compactness * compactness_of(size, box)


def pair_weight(mean: Tensor, size: Tensor, box: Tensor, first: Tensor, second: Tensor, kernel: str, compactness: float) -> Tensor:
    """Weight of edges between regions ``first`` and ``second``, ``(1 - c) kappa + c rho``: ``[m]`` float64."""
    similarity = KERNELS[kernel](mean[:, first].double(), mean[:, second].double())
    united = compactness_of(size[first] + size[second], unite(box[:, first], box[:, second]))
    return (1.0 - compactness) * similarity + compactness * united


def picked_weight(level_mean: Tensor, level_variance: Tensor, size: Tensor, box: Tensor, pick: Tensor, slope: Tensor, bias: Tensor,
                  kernel: str, compactness: float) -> Tensor:
    """The unquantised weight of each region's picked edge, ``w*`` ``[n]`` float64; differentiable."""
    index = torch.arange(pick.numel(), device=pick.device)
    to_other = pair_weight(level_mean, size, box, index, pick, kernel, compactness)
    to_self = self_weight(level_variance, size, box, slope, bias, compactness)
    return torch.where(pick == index, to_self, to_other)


class _Builder:
    """One run over a batch; the methods are the steps of a level."""

    def __init__(self, features: Tensor, slope: Tensor, bias: Tensor, kernel: str, compactness: float, criterion: str, iota: float,
                 min_regions: int):
        self.slope, self.bias = slope.detach(), bias.detach()
        self.kernel, self.compactness, self.criterion, self.iota = kernel, compactness, criterion, iota
        self.min_regions = min_regions
        self.batch, channels, self.height, self.width = features.shape
        self.num_pixels = self.height * self.width
        self.size_bits = (self.num_pixels - 1).bit_length()
        planes = features.detach().movedim(1, 0).reshape(channels, self.batch, self.num_pixels)
        self.exponent = statistics.feature_exponent(planes)
        self.levels = [self._pixels(planes.flatten(1))]

    def _pixels(self, mean: Tensor) -> _Level:
        pixel = torch.arange(self.num_pixels, device=mean.device).repeat(self.batch)
        y, x = pixel // self.width, pixel % self.width
        image = torch.arange(self.batch, device=mean.device).repeat_interleave(self.num_pixels)
        score = torch.full_like(mean[0], -math.sqrt(self.num_pixels), dtype=torch.float64)
        return _Level(mean, torch.zeros_like(mean), torch.ones_like(pixel), torch.stack([y, x, y, x]), image, score)

    def build(self) -> list[_Level]:
        """All levels, the whole images last."""
        edges = grid_edges(self.batch, self.height, self.width, self.slope.device)
        lowest = self.levels[0].score
        count = torch.full((self.batch,), self.num_pixels, device=lowest.device)
        active = count > self.min_regions
        for _ in range(num_levels(self.num_pixels)):
            if not active.any():
                break
            child = self.levels[-1]
            edges = tuple(end[active[child.image[edges[0]]]] for end in edges)
            child.pick = self._pick(child, edges)
            child.parent, roots = components.number_roots(components.components_of_picks(child.pick))
            level = self._merge(child, roots)
            level.score = torch.where(active[level.image], self._score(level), -torch.inf)
            self.levels.append(level)
            edges = self._lift(edges, child.parent)
            lowest = torch.full_like(level.score, torch.inf).scatter_reduce(0, child.parent, lowest, 'amin')
            improved = torch.zeros_like(count).scatter_reduce(0, level.image, (level.score >= lowest).long(), 'amax') > 0
            lowest = torch.maximum(level.score, lowest)
            count = torch.bincount(level.image, minlength=self.batch)
            active = active & improved & (count > self.min_regions)
        self._add_whole_images()
        return self.levels

    def _pick(self, level: _Level, edges: tuple[Tensor, Tensor]) -> Tensor:
        first, second = edges
        weight = quantize(pair_weight(level.mean, level.size, level.box, first, second, self.kernel, self.compactness))
        index = torch.arange(len(level), device=first.device)
        # One integer orders by weight, then by label; -1 leaves regions without an edge to themselves.
        best = torch.full_like(index, -1)
        if len(self.levels) > 1:
            own = self_weight(level.variance, level.size, level.box, self.slope, self.bias, self.compactness)
            best = (quantize(own) << 32) | index
        best = best.scatter_reduce(0, first, (weight << 32) | second, 'amax').scatter_reduce(0, second, (weight << 32) | first, 'amax')
        return torch.where(best < 0, index, best & 0xFFFFFFFF)

    def _merge(self, child: _Level, roots: Tensor) -> _Level:
        weight = picked_weight(child.mean, child.variance, child.size, child.box, child.pick, self.slope, self.bias, self.kernel,
                               self.compactness)
        alpha = child.size * sqrt(weight).clamp_min(statistics.SMALLEST_ROOT_WEIGHT)
        return self._unite(child, alpha, child.parent, len(roots), child.image[roots])

    def _unite(self, child: _Level, alpha: Tensor, parent: Tensor, num_parents: int, image: Tensor) -> _Level:
        mean, variance, total = statistics.merge_moments(child.mean, child.variance, alpha, parent, num_parents,
                                                  self.exponent[child.image], self.size_bits)
        size = torch.zeros(num_parents, dtype=torch.int64, device=parent.device).scatter_add_(0, parent, child.size)
        box = statistics.merge_boxes(child.box, parent, num_parents)
        return _Level(mean, variance, size, box, image, score=None, alpha=total)

    def _score(self, level: _Level) -> Tensor:
        return information_score(level.variance.double(), level.size, self.num_pixels, self.criterion, self.iota)

    @staticmethod
    def _lift(edges: tuple[Tensor, Tensor], parent: Tensor) -> tuple[Tensor, Tensor]:
        first, second = parent[edges[0]], parent[edges[1]]
        between = first != second
        return first[between], second[between]

    def _add_whole_images(self) -> None:
        last = self.levels[-1]
        last.pick, last.parent = torch.arange(len(last), device=last.image.device), last.image
        whole = self._unite(last, last.size.double(), last.parent, self.batch, torch.arange(self.batch, device=last.image.device))
        whole.score = self._score(whole)
        whole.pick, whole.parent = whole.image, torch.full_like(whole.image, -1)
        self.levels.append(whole)


def _select(levels: list[_Level], starts: list[int]) -> Tensor:
    """Node that each pixel selects: walking down from the whole image, a child wins only with a larger score than its best ancestor."""
    best_score = levels[-1].score
    best_node = torch.arange(len(levels[-1]), device=best_score.device) + starts[-1]
    for level, start in zip(levels[-2::-1], starts[-2::-1], strict=True):
        own = torch.arange(len(level), device=best_score.device) + start
        inherits = best_score[level.parent] >= level.score
        best_node = torch.where(inherits, best_node[level.parent], own)
        best_score = torch.where(inherits, best_score[level.parent], level.score)
    return best_node


def _label(node: Tensor, levels: list[_Level], batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Number of each pixel's region through the batch and the regions' first pixels: components of equal selected nodes."""
    index = torch.arange(node.numel(), device=node.device)
    start = index
    if len(levels) > 2:
        # A region of level 1 selects as one, so its pixels start out joined; a pixel that selects itself stays alone.
        first_pixel = index.new_full((len(levels[1]),), node.numel()).scatter_reduce(0, levels[0].parent, index, 'amin')
        start = torch.where(node == index, index, first_pixel[levels[0].parent])
    first, second = grid_edges(batch, height, width, node.device)
    same = node[first] == node[second]
    return components.number_roots(components.merge_edges(start, first[same], second[same]))


def build_hierarchy(features: Tensor, slope: Tensor, bias: Tensor, kernel: str, compactness: float, criterion: str, iota: float,
                    min_regions: int) -> tuple[Tensor, ...]:
    """Pure-torch implementation of :func:`dht_mm.ops.build_hierarchy`; returns the fields of ``Hierarchy`` in order."""
    builder = _Builder(features, slope, bias, kernel, compactness, criterion, iota, min_regions)
    levels = builder.build()
    starts = [0]
    for level in levels:
        starts.append(starts[-1] + len(level))
    node = _select(levels, starts[:-1])
    packed, first_pixels = _label(node, levels, builder.batch, builder.height, builder.width)

    num_regions = torch.bincount(levels[0].image[first_pixels], minlength=builder.batch)
    offsets = torch.cat([num_regions.new_zeros(1), num_regions.cumsum(0)])
    labels = (packed - offsets[levels[0].image]).view(builder.batch, builder.height, builder.width)
    merged = levels[1:]
    parents = torch.cat([level.parent + start for level, start in zip(levels[:-1], starts[1:], strict=False)] + [levels[-1].parent])
    picks = torch.cat([level.pick + start for level, start in zip(levels, starts, strict=False)])
    return (
        labels.int(), num_regions.int(), offsets.int(), node[first_pixels].int(),
        statistics.merge_boxes(levels[0].box, packed, len(first_pixels)).T.contiguous().int(),
        torch.bincount(packed, minlength=len(first_pixels)).int(),
        torch.cat([level.mean for level in levels], 1)[:, node[first_pixels]].T.contiguous(),
        parents.int(), picks.int(),
        torch.cat([level.mean for level in merged], 1).T.contiguous(),
        torch.cat([level.variance for level in merged], 1).T.contiguous(),
        torch.cat([level.size for level in merged]).int(),
        torch.cat([level.box for level in merged], 1).T.contiguous().int(),
        torch.cat([level.score for level in merged]),
        torch.cat([level.alpha for level in merged]),
        torch.tensor(starts, device=node.device))
