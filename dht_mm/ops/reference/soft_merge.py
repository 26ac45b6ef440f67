"""One round of merging around the regions that a token budget keeps, in plain tensor operations (paper section 3.4)."""

import torch
from torch import Tensor

from .components import components_of_picks
from .edge_weight import KERNELS, quantize
from .exact_math import log, sqrt
from .packing import image_of_rows, packed_labels
from .region_graph import number_merged, region_edges


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


def soft_merge(labels: Tensor, offsets: Tensor, size: Tensor, box: Tensor, color: Tensor, target: int, seed: int | None,
               kernel: str) -> tuple[Tensor, Tensor]:
    """Pure-torch implementation of :func:`dht_mm.ops.soft_merge`."""
    offsets, size, index = offsets.long(), size.long(), torch.arange(size.numel(), device=size.device)
    image, key = image_of_rows(offsets, size.numel()), size.double()
    if seed is not None:
        key = -log(uniform_draws(size, box.long(), image, len(labels), seed)) * sqrt(key)
    dropped = rank_in_image(key, image, offsets) >= target
    first, second, _ = region_edges(packed_labels(labels, offsets))
    open_edge = dropped[first] | dropped[second]
    planes = color.double().T
    weight = torch.where(open_edge, quantize(KERNELS[kernel](planes[:, first], planes[:, second])), 0)
    best = (torch.where(dropped, 0, 65535) << 32) | index
    best = best.scatter_reduce(0, first, (weight << 32) | second, 'amax').scatter_reduce(0, second, (weight << 32) | first, 'amax')
    return number_merged(components_of_picks(best & 0xFFFFFFFF), image, len(labels))
