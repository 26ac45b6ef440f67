"""Where merging to an exact budget starts: a cut of the hierarchy that is finer than the regions to be left."""

import torch

from .backend import contiguous_ints, use_ext
from .checks import check_devices, check_positive
from .hierarchy import Hierarchy
from .op import define
from .reference import finer_cut as reference

# Regions to start from, for each that is to be left: the more, the better borders are followed, and the longer merging takes.
FINENESS = 5


def finer_cut(hierarchy: Hierarchy, target: int, rows: int | None = None) -> Hierarchy:
    """Each image's regions at the coarsest level that has ``FINENESS`` times ``target`` of them, or at level 1 if none has.

    An image keeps its selected regions where there is no level, or where level 1 has fewer than both these, since single pixels are
    among them, and ``target``.

    Args:
        hierarchy: The hierarchy, with the selected regions; of a fixed length or not.
        target: Regions that are to be left, at least 1.
        rows: Rows of the regions' fields; nothing then waits for the device. By default just as many as there are regions, which are
            read back.

    Returns:
        The hierarchy with the regions of the cut in the place of the selected ones. ``node``, ``bbox``, ``size`` and ``mean`` are zero in
        rows that no region needs. Where the regions do not fit, or ``hierarchy`` says that its own did not, all of these, ``labels`` and
        ``offsets`` are zero and ``num_regions`` is -1.

    Raises:
        ValueError: ``target`` or ``rows`` is not a positive integer below 2^31, or the fields are not on one device.
    """
    check_devices(labels=hierarchy.labels, parent=hierarchy.parent, level_starts=hierarchy.level_starts)
    check_positive(target=target)
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows < 2**31):
        raise ValueError(f'rows must be a positive integer below 2^31, got {rows!r}')
    least, target = (min(count, 2**31 - 1) for count in (FINENESS * target, target))  # more than an image has pixels
    cut = _finer_cut(hierarchy.labels, hierarchy.offsets, hierarchy.node, hierarchy.bbox, hierarchy.size, hierarchy.parent,
                     hierarchy.node_size, hierarchy.node_bbox, hierarchy.mean, hierarchy.node_mean, hierarchy.level_starts, least, target,
                     rows)
    return Hierarchy(*cut, *hierarchy[len(cut):])


@define(
    'finer_cut',
    '(Tensor labels, Tensor offsets, Tensor node, Tensor bbox, Tensor size, Tensor parent, Tensor node_size, Tensor node_bbox, Tensor mean,'
    ' Tensor node_mean, Tensor level_starts, int least, int target, int? rows)'
    ' -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)')
def _finer_cut(*arguments):
    integers, (mean, node_mean), (starts, *options) = arguments[:8], arguments[8:10], arguments[10:]
    if not use_ext(mean):
        return reference.finer_cut(*arguments)
    return torch.ops.dht_mm_ext.finer_cut(
        *contiguous_ints(*integers), mean.contiguous(), node_mean.contiguous(), starts.contiguous(), *options)


@_finer_cut.register_fake
def _(labels, offsets, node, bbox, size, parent, node_size, node_bbox, mean, node_mean, level_starts, least, target, rows):
    total = torch.library.get_ctx().new_dynamic_size(min=0) if rows is None else rows
    shapes = labels.shape, (labels.shape[0],), offsets.shape, (total,), (total, 4), (total,)
    return *(labels.new_empty(shape, dtype=torch.int32) for shape in shapes), mean.new_empty(total, mean.shape[1])
