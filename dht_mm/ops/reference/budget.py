"""Merging the regions of a partition down to a token budget, in plain tensor operations (paper section 3.4)."""

import torch
from torch import Tensor

from . import components
from .edge_weight import KERNELS, quantize
from .exact_math import log


def region_edges(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of neighbouring regions, each once, smaller row first: ``[B, H, W]`` int64 rows to two ``[m]`` int64."""
    horizontal = torch.stack([packed[:, :, :-1].flatten(), packed[:, :, 1:].flatten()])
    vertical = torch.stack([packed[:, :-1].flatten(), packed[:, 1:].flatten()])
    low, high = torch.aminmax(torch.cat([horizontal, vertical], 1), dim=0)
    return _unique_edges(low, high)


def _unique_edges(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct edges between different rows, in lexicographic order."""
    key = torch.unique(((low << 32) | high)[low != high])
    return key >> 32, key & 0xFFFFFFFF


def rank_in_image(key: Tensor, image: Tensor, offsets: Tensor) -> Tensor:
    """Place of every region among those of its image in ascending order of ``key``, ties to the smaller label: ``[R]`` int64."""
    order = torch.argsort(key, stable=True)
    order = order[torch.argsort(image[order], stable=True)]
    index = torch.arange(key.numel(), device=key.device)
    return torch.empty_like(index).scatter_(0, order, index) - offsets[image]


def _mix(x: Tensor) -> Tensor:
    """A bijective scrambling of int64 (multiplications wrap around)."""
    for factor in (-0x00AE502812AA7333, -0x3B314601E57A13AD):
        x = (x ^ ((x >> 33) & 0x7FFFFFFF)) * factor
    return x ^ ((x >> 33) & 0x7FFFFFFF)


def uniform_draws(size: Tensor, box: Tensor, image: Tensor, batch: int, seed: int) -> Tensor:
    """One number in (0, 1) a region, from the seed and the regions of its own image: ``[R]`` float64.

    Args:
        size: ``[R]`` int64.
        box: ``[R, 4]`` int64.
        image: ``[R]`` int64.
        batch: Number of images.
        seed: 63-bit integer.
    """
    region = _mix(size + _mix(box[:, 0] + _mix(box[:, 1] + _mix(box[:, 2] + _mix(box[:, 3])))))
    whole = torch.zeros(batch, dtype=torch.int64, device=size.device).scatter_add_(0, image, region)
    start = torch.zeros_like(whole).scatter_add_(0, image, torch.ones_like(image)).cumsum(0)
    label = torch.arange(size.numel(), device=size.device) - start[image]
    bits = _mix(_mix(whole[image] + seed) + label)
    return (((bits >> 11) & ((1 << 53) - 1)).double() + 0.5) * 2.0**-53


def soft_merge(packed: Tensor, offsets: Tensor, image: Tensor, size: Tensor, box: Tensor, color: Tensor, target: int, seed: int | None,
               kernel: str) -> Tensor:
    """Pure-torch implementation of :func:`dht_mm.ops.soft_merge`."""
    key = size.double()
    if seed is not None:
        key = -log(uniform_draws(size, box, image, len(packed), seed)) * key.sqrt()
    dropped = rank_in_image(key, image, offsets) >= target
    first, second = region_edges(packed)
    open_edge = dropped[first] | dropped[second]
    planes = color.double().T
    weight = torch.where(open_edge, quantize(KERNELS[kernel](planes[:, first], planes[:, second])), 0)
    index = torch.arange(size.numel(), device=size.device)
    best = (torch.where(dropped, 0, 65535) << 32) | index
    best = best.scatter_reduce(0, first, (weight << 32) | second, 'amax').scatter_reduce(0, second, (weight << 32) | first, 'amax')
    return components.number_roots(components.components_of_picks(best & 0xFFFFFFFF))[0]


def _ward_cost(first: Tensor, second: Tensor, size: Tensor, planes: Tensor) -> Tensor:
    """``m_u m_v / (m_u + m_v) |f_u - f_v|^2`` ``[m]`` float64, symmetric to the bit."""
    squares = [(plane[first] - plane[second]) ** 2 for plane in planes]
    distance = squares[0]
    for square in squares[1:]:
        distance = distance + square
    return (size[first] * size[second]).double() / (size[first] + size[second]).double() * distance


def _cheapest_mutual(cost: Tensor, first: Tensor, second: Tensor, image: Tensor, excess: Tensor) -> Tensor:
    """Edges that are the cheapest of both their ends, at most ``excess`` of each image: indices ``[k]``, cheapest first."""
    order = torch.argsort(cost, stable=True)
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(order.numel(), device=order.device))
    best = torch.full_like(image, order.numel()).scatter_reduce(0, first, rank, 'amin').scatter_reduce(0, second, rank, 'amin')
    chosen = order[((best[first] == rank) & (best[second] == rank))[order]]
    chosen = chosen[torch.argsort(image[first[chosen]], stable=True)]
    of_image = image[first[chosen]]
    per_image = torch.bincount(of_image, minlength=excess.numel())
    place = torch.arange(chosen.numel(), device=chosen.device) - (per_image.cumsum(0) - per_image)[of_image]
    return chosen[place < excess[of_image]]


def hard_merge(packed: Tensor, image: Tensor, size: Tensor, color: Tensor, target: int) -> Tensor:
    """Pure-torch implementation of :func:`dht_mm.ops.hard_merge`."""
    first, second = region_edges(packed)
    planes, parent = color.double().T, torch.arange(size.numel(), device=size.device)
    while True:
        excess = torch.bincount(image, minlength=len(packed)) - target
        over = excess[image[first]] > 0
        first, second = first[over], second[over]
        if not over.any():
            return parent
        cost = _ward_cost(first, second, size, planes)
        chosen = _cheapest_mutual(cost, first, second, image, excess)
        root = torch.arange(size.numel(), device=size.device).scatter_(0, second[chosen], first[chosen])
        number, roots = components.number_roots(root)
        merged_size = torch.zeros_like(size[roots]).scatter_add_(0, number, size)
        # At most two regions meet, and a sum of two does not depend on their order.
        total = planes.new_zeros(len(planes), len(roots)).scatter_add_(1, number.expand(len(planes), -1), planes * size)
        planes, size, image, parent = total / merged_size, merged_size, image[roots], number[parent]
        first, second = _unique_edges(*torch.aminmax(torch.stack([number[first], number[second]]), dim=0))
