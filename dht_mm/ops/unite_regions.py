"""The partition after a merge: labels, sizes and boxes of the united regions, and means by size."""

import torch
from torch import Tensor

from .backend import contiguous_ints, use_ext
from .checks import check_count, check_devices, check_labels, check_positive
from .op import define
from .reference import unite_regions as reference
from .reference.packing import fill_rows, used_rows


def unite_regions(labels: Tensor, offsets: Tensor, size: Tensor, bbox: Tensor, parent: Tensor,
                  merged_offsets: Tensor, rows: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Labels, sizes and boxes of united regions.

    Args:
        labels: ``[B, H, W]`` integer, labels of each image.
        offsets: ``[B + 1]`` integer, first row of each image.
        size: ``[R]`` integer, pixels. Rows from ``offsets[-1]`` on, of a fixed length, are of no region.
        bbox: ``[R, 4]`` integer.
        parent: ``[R]`` integer, row of each region after the merge (:func:`soft_merge`, :func:`hard_merge`).
        merged_offsets: ``[B + 1]`` integer, first row of each image after it.
        rows: ``Q``, at least the last of ``merged_offsets``; nothing then waits for the device. By default that last one is read back.

    Returns:
        ``[B, H, W]``, ``[Q]`` and ``[Q, 4]``, all int32, of the ``Q`` united regions; zero in further rows.

    Raises:
        TypeError: ``labels`` or ``offsets`` are not integers.
        ValueError: The shapes do not fit together, ``rows`` is not a positive integer, or on the CPU ``merged_offsets`` do not rise from 0.
    """
    check_labels(labels, offsets, size=size, bbox=bbox, parent=parent, merged_offsets=merged_offsets)
    if size.dim() != 1 or parent.shape != size.shape or bbox.shape != (len(size), 4) or merged_offsets.shape != offsets.shape:
        raise ValueError(f'size, parent, bbox and merged_offsets must be [R], [R], [R, 4] and [B + 1], got {tuple(size.shape)}, '
                         f'{tuple(parent.shape)}, {tuple(bbox.shape)} and {tuple(merged_offsets.shape)}')
    if rows is not None:
        check_positive(rows=rows)
    return _unite_regions(labels, offsets, size, bbox, parent, merged_offsets, rows)


def united_mean(mean: Tensor, offsets: Tensor, size: Tensor, parent: Tensor, united_size: Tensor, num_pixels: int) -> Tensor:
    """Means of united regions, weighted by size; a region that stays alone keeps its mean bit for bit.

    Args:
        mean: ``[R, D]`` float.
        offsets: ``[B + 1]`` integer, first row of each image.
        size: ``[R]`` integer, pixels. Rows from ``offsets[-1]`` on, of a fixed length, are of no region.
        parent: ``[R]`` integer, row of each region's union.
        united_size: ``[Q]`` integer, pixels of the unions, 0 in rows of none.
        num_pixels: Pixels of an image.

    Returns:
        ``[Q, D]`` in the dtype of ``mean``, differentiable to it; zero in rows of no region.

    Raises:
        ValueError: The shapes do not fit together.
    """
    check_devices(mean=mean, offsets=offsets, size=size, parent=parent, united_size=united_size)
    check_count(num_pixels=num_pixels)
    if mean.dim() != 2 or not mean.is_floating_point() or size.shape != mean.shape[:1] or parent.shape != size.shape:
        raise ValueError(f'mean, size and parent must be a float [R, D], [R] and [R], got {mean.dtype} {tuple(mean.shape)}, '
                         f'{tuple(size.shape)} and {tuple(parent.shape)}')
    if offsets.dim() != 1 or united_size.dim() != 1:
        raise ValueError(f'offsets and united_size must be [B + 1] and [Q], got {tuple(offsets.shape)} and {tuple(united_size.shape)}')
    return _united_mean(mean, offsets, size, parent, united_size, num_pixels)


@define('unite_regions', '(Tensor labels, Tensor offsets, Tensor size, Tensor bbox, Tensor parent, Tensor merged_offsets, SymInt? rows)'
    ' -> (Tensor, Tensor, Tensor)')
def _unite_regions(labels, offsets, size, bbox, parent, merged_offsets, rows):
    arguments = contiguous_ints(labels, offsets, size, bbox, parent, merged_offsets)
    compiled = use_ext(arguments[0])
    if compiled and labels.is_cuda and rows is not None:
        return torch.ops.dht_mm_ext.unite_regions(*arguments, rows)
    total = int(merged_offsets[-1])
    if not 0 <= total <= len(size):
        raise ValueError(f'merged_offsets must end in [0, {len(size)}], got {total}')
    if not labels.is_cuda and (merged_offsets[0] != 0 or (merged_offsets[1:] < merged_offsets[:-1]).any()):
        raise ValueError(f'merged_offsets must rise from 0, got {merged_offsets.tolist()}')
    rows = total if rows is None else rows
    if compiled and labels.is_cuda:
        return torch.ops.dht_mm_ext.unite_regions(*arguments, rows)
    if total > rows:
        raise ValueError(f'rows must be at least the number of united regions {total}, got {rows}')
    if total == int(offsets[-1]) == 0:
        return torch.zeros_like(arguments[0]), *(arguments[0].new_zeros(shape) for shape in ((rows,), (rows, 4)))
    arguments = *arguments[:2], *used_rows(offsets, *arguments[2:5]), arguments[5]
    united = torch.ops.dht_mm_ext.unite_regions(*arguments, total) if compiled else reference.unite_regions(*arguments, total)
    return united[0], *(fill_rows(field, rows) for field in united[1:])


@_unite_regions.register_fake
def _(labels, offsets, size, bbox, parent, merged_offsets, rows):
    total = torch.library.get_ctx().new_dynamic_size(min=0) if rows is None else rows
    return tuple(labels.new_empty(shape, dtype=torch.int32) for shape in (labels.shape, (total,), (total, 4)))


@define('united_mean', '(Tensor mean, Tensor offsets, Tensor size, Tensor parent, Tensor united_size, SymInt num_pixels) -> Tensor')
def _united_mean(mean, offsets, size, parent, united_size, num_pixels):
    if use_ext(mean):
        return torch.ops.dht_mm_ext.united_mean(mean.contiguous(), *contiguous_ints(offsets, size, parent, united_size), num_pixels)
    return reference.united_mean(*used_rows(offsets, mean), offsets, *used_rows(offsets, size, parent), united_size, num_pixels)


@_united_mean.register_fake
def _(mean, offsets, size, parent, united_size, num_pixels):
    return mean.new_empty(united_size.shape[0], mean.shape[1])


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[2:5])


def _backward(ctx, grad):
    size, parent, united_size = ctx.saved_tensors
    place, used = parent.clamp_min(0), (size > 0)[:, None]
    share = size / united_size.index_select(0, place)
    return torch.where(used, grad.index_select(0, place) * share[:, None].to(grad.dtype), 0.0), None, None, None, None, None


_united_mean.register_autograd(_backward, setup_context=_setup_context)
