"""The partition op of fixed size: pixel features to regions without a read-back."""

import torch
from torch import Tensor

from .backend import use_ext
from .hierarchy import build_hierarchy, check_features, check_options, kernel_layout
from .reference.criterion import PENALTIES
from .reference.edge_weight import KERNELS


def build_partition(features: Tensor, slope: Tensor, bias: Tensor, capacity: int, *, kernel: str = 'gaussian', compactness: float = 0.1,
                    criterion: str = 'aicc', iota: float = 5.0, min_regions: int = 6) -> tuple[Tensor, ...]:
    """The partition of :func:`build_hierarchy` in fields of a fixed length, for CUDA graphs and export: nothing waits for a GPU.

    Args:
        features: ``[B, d, H, W]``, see :func:`build_hierarchy`, as are the other arguments.
        slope: ``[d]``.
        bias: ``[]``.
        capacity: Rows of the packed fields, for the regions of the whole batch.
        kernel: The similarity.
        compactness: Share of the shape in the edge weight.
        criterion: The information criterion.
        iota: Constant of the likelihood.
        min_regions: An image with at most this many regions is not merged further.

    Returns:
        ``labels`` ``[B, H, W]`` int32, ``num_regions`` ``[B]`` int32, ``offsets`` ``[B + 1]`` int32, ``bbox`` ``[capacity, 4]`` int32,
        ``size`` ``[capacity]`` int32 and ``mean`` ``[capacity, d]``; rows that no region needs are zero. Where the regions do not fit,
        everything is zero and ``num_regions`` is -1; on a GPU also where the features are not finite.

    Raises:
        TypeError: ``compactness`` or ``iota`` is not a number.
        ValueError: An argument is out of its range.
    """
    check_features(features, slope, bias)
    check_options(kernel=kernel, compactness=compactness, criterion=criterion, iota=iota, min_regions=min_regions)
    if isinstance(capacity, bool) or not isinstance(capacity, int) or not 1 <= capacity < 2**31:
        raise ValueError(f'capacity must be a positive integer below 2^31, got {capacity!r}')
    return _build_partition(features.detach(), slope.detach(), bias.detach(), kernel, compactness, criterion, iota, min_regions, capacity)


@torch.library.custom_op(
    'dht_mm::build_partition', mutates_args=(),
    schema='(Tensor features, Tensor slope, Tensor bias, str kernel, float compactness, str criterion, float iota, int min_regions,'
    ' int capacity) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)')
def _build_partition(features, slope, bias, kernel, compactness, criterion, iota, min_regions, capacity):
    if features.is_cuda and use_ext(features):
        return torch.ops.dht_mm_ext.build_partition(
            kernel_layout(features), slope.float().contiguous(), bias.float(), list(KERNELS).index(kernel), compactness,
            list(PENALTIES).index(criterion), iota, min_regions, capacity)
    found = build_hierarchy(features, slope, bias, kernel=kernel, compactness=compactness, criterion=criterion, iota=iota,
                            min_regions=min_regions)
    if len(found.size) > capacity:
        return tuple(torch.full_like(tensor, value) for tensor, value in zip(
            _empty_partition(features, capacity), (0, -1, 0, 0, 0, 0), strict=True))
    rows = (torch.cat([field, field.new_zeros(capacity - len(field), *field.shape[1:])]) for field in (found.bbox, found.size, found.mean))
    return found.labels, found.num_regions, found.offsets, *rows


def _empty_partition(features: Tensor, capacity: int) -> tuple[Tensor, ...]:
    batch, channels, height, width = features.shape

    def integers(*shape: int) -> Tensor:
        return features.new_empty(shape, dtype=torch.int32)

    return (integers(batch, height, width), integers(batch), integers(batch + 1), integers(capacity, 4), integers(capacity),
            features.new_empty(capacity, channels))


@_build_partition.register_fake
def _(features, slope, bias, kernel, compactness, criterion, iota, min_regions, capacity):
    return _empty_partition(features, capacity)
