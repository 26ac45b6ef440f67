"""The strict token budget: merging neighbours until few enough regions are left."""

import torch
from torch import Tensor

from .backend import contiguous_ints, use_ext
from .checks import check_labels, check_positive
from .op import define
from .reference import hard_merge as reference
from .reference.packing import fill_rows, used_rows

# Channels that the compiled kernels have room for.
_MAX_CHANNELS = 16


def hard_merge(image: Tensor, labels: Tensor, offsets: Tensor, size: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Merge neighbouring regions until every image has at most ``target``; an image that has more is left with exactly as many.

    The cost of a merge is the growth of the code length when one Gaussian describes the pixels of both regions instead of one each,
    smaller for longer common borders::

        cost(u, v) = (L(u + v) - L(u) - L(v)) / (1 / 2 + border(u, v) / min(border(u), border(v)))
        L(u) = size(u) * log det(covariance(u) + noise)

    where ``noise`` is 0.01 in all entries plus 0.005 on the diagonal, for images normalised to about unit variance; ``border`` counts
    pixel sides between regions. Ward's cost (1963) is the case of equal covariances. Merging goes in rounds: pairs that are each
    other's cheapest neighbour can merge, and the cheapest quarter of them does, rounded up, or of the number of regions to be rid of
    where that is smaller. Costs are compared in float32; ties go to the neighbour whose label gives the smaller ``xor`` with the
    region's own, and among pairs to the smaller label. A merged region has the smaller of its labels.

    Args:
        image: ``[B, C, H, W]`` float, finite, normalised.
        labels: ``[B, H, W]`` integer, canonical labels of each image; regions are 4-connected.
        offsets: ``[B + 1]`` integer, first row of each image.
        size: ``[R]`` integer, pixels. Rows from ``offsets[-1]`` on, of a fixed length, are of no region.
        target: Most regions of an image, at least 1.

    Returns:
        ``[R]`` int32, row of each region in the merged partition, image after image, in canonical order, -1 for rows of no region; and
        ``[B + 1]`` int32, first row of each image in it. Nothing waits for the device.

    Raises:
        TypeError: ``labels`` or ``offsets`` are not integers.
        ValueError: ``target`` is out of range, on the CPU ``image`` is not finite, or a shape does not fit.
    """
    check_labels(labels, offsets, image=image, size=size)
    check_positive(target=target)
    if image.dim() != 4 or not image.is_floating_point() or (image.shape[0], *image.shape[2:]) != labels.shape:
        raise ValueError(f'image must be a float [B, C, H, W] for labels of {tuple(labels.shape)}, got {image.dtype} of shape '
                         f'{tuple(image.shape)}')
    if size.dim() != 1:
        raise ValueError(f'size must be [R], got shape {tuple(size.shape)}')
    return _hard_merge(image.detach(), labels, offsets, size, target)


@define('hard_merge', '(Tensor image, Tensor labels, Tensor offsets, Tensor size, int target) -> (Tensor, Tensor)')
def _hard_merge(image, labels, offsets, size, target):
    if image.device.type == 'cpu' and not image.isfinite().all():  # a GPU would have to wait
        raise ValueError('image must be finite, got NaN or infinite values')
    compiled = image.shape[1] <= _MAX_CHANNELS and use_ext(image)
    if compiled and image.is_cuda:
        return torch.ops.dht_mm_ext.hard_merge(image.contiguous(), *contiguous_ints(labels, offsets, size), target)
    used, = used_rows(offsets, size)
    if len(used) == 0:
        return torch.full_like(size, -1, dtype=torch.int32), torch.zeros_like(offsets, dtype=torch.int32)
    parent, merged = (
        torch.ops.dht_mm_ext.hard_merge(image.contiguous(), *contiguous_ints(labels, offsets, used), target) if compiled
        else reference.hard_merge(image, labels, offsets, used, target))
    return fill_rows(parent, len(size), -1), merged


@_hard_merge.register_fake
def _(image, labels, offsets, size, target):
    return torch.empty_like(size, dtype=torch.int32), torch.empty_like(offsets, dtype=torch.int32)
