"""The hierarchy in fields of a fixed length: pixel features to regions without a read-back."""

import torch
from torch import Tensor

from .backend import use_ext
from .hierarchy import Hierarchy, build_hierarchy, check_features, check_options, kernel_layout
from .op import define
from .reference.criterion import PENALTIES
from .reference.edge_weight import KERNELS
from .reference.hierarchy import num_levels

_MOST_LEVELS = 18  # of an image of 2^31 pixels, the pixels and the whole image included


def build_fixed_hierarchy(features: Tensor, slope: Tensor, bias: Tensor, capacity: int, *, kernel: str = 'gaussian',
                          compactness: float = 0.1, criterion: str = 'aicc', iota: float = 5.0, min_regions: int = 6) -> Hierarchy:
    """:func:`build_hierarchy` for CUDA graphs and export: no length depends on the values, and nothing waits for a GPU.

    Args:
        features: ``[B, d, H, W]``, see :func:`build_hierarchy`, as are the other arguments.
        slope: ``[d]``.
        bias: ``[]``.
        capacity: Rows of the regions' fields, for the regions of the whole batch.
        kernel: The similarity.
        compactness: Share of the shape in the edge weight.
        criterion: The information criterion.
        iota: Constant of the likelihood.
        min_regions: An image with at most this many regions is not merged further.

    Returns:
        The hierarchy; regions have ``capacity`` rows, nodes as many as :func:`node_capacity` says. ``bbox``, ``size`` and ``mean`` are zero
        in rows that no region needs; of nodes there are ``level_starts[-1]``, which is repeated where levels are missing. Where the
        regions or the nodes do not fit, all of these, ``labels``, ``offsets`` and ``level_starts`` are zero and ``num_regions`` is -1; on a
        GPU also where the features are not finite.

    Raises:
        TypeError: ``compactness`` or ``iota`` is not a number.
        ValueError: An argument is out of its range.
    """
    check_features(features, slope, bias)
    check_options(kernel=kernel, compactness=compactness, criterion=criterion, iota=iota, min_regions=min_regions)
    if isinstance(capacity, bool) or not isinstance(capacity, int) or not 1 <= capacity < 2**31:
        raise ValueError(f'capacity must be a positive integer below 2^31, got {capacity!r}')
    return Hierarchy(*_build_fixed_hierarchy(features.detach(), slope.detach(), bias.detach(), kernel, compactness, criterion, iota,
                                             min_regions, capacity))


def node_capacity(batch: int, num_pixels: int) -> int:
    """Nodes above the pixels that a hierarchy of a fixed length has room for. Photographs need a third of these, noise most of them."""
    return batch * num_pixels * 13 // 10 + _MOST_LEVELS * batch


@define(
    'build_fixed_hierarchy',
    '(Tensor features, Tensor slope, Tensor bias, str kernel, float compactness, str criterion, float iota, int min_regions,'
    f' int capacity) -> ({", ".join(["Tensor"] * len(Hierarchy._fields))})')
def _build_fixed_hierarchy(features, slope, bias, kernel, compactness, criterion, iota, min_regions, capacity):
    if features.is_cuda and use_ext(features):
        return torch.ops.dht_mm_ext.build_fixed_hierarchy(
            kernel_layout(features), slope.float().contiguous(), bias.float(), list(KERNELS).index(kernel), compactness,
            list(PENALTIES).index(criterion), iota, min_regions, capacity)
    found = build_hierarchy(features, slope, bias, kernel=kernel, compactness=compactness, criterion=criterion, iota=iota,
                            min_regions=min_regions)
    return _widened(found, _empty(features, min_regions, capacity))


def _widened(found: Hierarchy, fixed: Hierarchy) -> Hierarchy:
    """Copy what was found into fields of a fixed length, or say that it does not fit."""
    fits = len(found.size) <= len(fixed.size) and len(found.node_size) <= len(fixed.node_size)
    for source, target in zip(found, fixed, strict=True):
        target.zero_()
        if fits:
            target[:len(source)] = source
    if fits:
        fixed.level_starts[len(found.level_starts):] = found.level_starts[-1]
    else:
        fixed.num_regions.fill_(-1)
    return fixed


def _empty(features: Tensor, min_regions: int, capacity: int) -> Hierarchy:
    batch, channels, height, width = features.shape
    pixels, nodes = batch * height * width, node_capacity(batch, height * width)
    levels = 0 if height * width <= min_regions else num_levels(height * width)

    def integers(*shape: int) -> Tensor:
        return features.new_empty(shape, dtype=torch.int32)

    def doubles() -> Tensor:
        return features.new_empty(nodes, dtype=torch.float64)

    return Hierarchy(
        integers(batch, height, width), integers(batch), integers(batch + 1), integers(capacity), integers(capacity, 4), integers(capacity),
        features.new_empty(capacity, channels), integers(pixels + nodes), integers(pixels + nodes), features.new_empty(nodes, channels),
        features.new_empty(nodes, channels), integers(nodes), integers(nodes, 4), doubles(), doubles(),
        features.new_empty(levels + 3, dtype=torch.int64))


@_build_fixed_hierarchy.register_fake
def _(features, slope, bias, kernel, compactness, criterion, iota, min_regions, capacity):
    return _empty(features, min_regions, capacity)
