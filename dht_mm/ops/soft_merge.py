"""The paper's token budget: one round of merging around the regions that are kept."""

import torch
from torch import Tensor

from .backend import contiguous_ints, use_ext
from .checks import check_labels, check_positive, check_tensors
from .op import define
from .reference import soft_merge as reference
from .reference.edge_weight import KERNELS


def soft_merge(labels: Tensor, offsets: Tensor, size: Tensor, bbox: Tensor, color: Tensor, target: int, *, seed: Tensor | None = None,
               kernel: str = 'gaussian') -> tuple[Tensor, Tensor]:
    """One round of merging that keeps ``target`` regions an image and lets the others join their most similar neighbour.

    Dropped regions also merge among themselves, so more or fewer than ``target`` regions can remain (paper section 3.4). An image of
    at most ``target`` regions stays as it is.

    Args:
        labels: ``[B, H, W]`` integer, canonical labels of each image.
        offsets: ``[B + 1]`` integer, first row of each image.
        size: ``[R]`` integer, pixels.
        bbox: ``[R, 4]`` integer.
        color: ``[R, C]`` float, predicted mean colours.
        target: Regions to keep in each image, at least 1.
        seed: ``None`` keeps the smallest regions, ties to the smaller label; a non-negative int64 ``[]`` on the CPU keeps a sample without
            replacement with probability proportional to ``1 / sqrt(size)``, which depends on the seed and the image's own regions alone.
        kernel: Similarity of colours.

    Returns:
        ``[R]`` int32, row of each region in the merged partition, image after image, in canonical order; and ``[B + 1]`` int32, first
        row of each image in it. Nothing waits for the device.

    Raises:
        TypeError: ``labels`` or ``offsets`` are not integers.
        ValueError: ``target`` or ``kernel`` is out of range, on the CPU ``color`` is not finite, or a shape does not fit.
    """
    check_labels(labels, offsets, size=size, bbox=bbox, color=color)
    check_positive(target=target)
    if kernel not in KERNELS:
        raise ValueError(f'kernel must be one of {sorted(KERNELS)}, got {kernel!r}')
    if size.dim() != 1 or bbox.shape != (len(size), 4) or color.dim() != 2 or len(color) != len(size):
        raise ValueError(f'size, bbox and color must be [R], [R, 4] and [R, C], got {tuple(size.shape)}, {tuple(bbox.shape)} and '
                         f'{tuple(color.shape)}')
    if seed is not None:
        check_tensors(seed=seed)
    if seed is not None and (seed.dtype != torch.int64 or seed.dim() != 0 or seed.device.type != 'cpu'):
        raise ValueError(f'seed must be an int64 [] on the CPU, got {seed.dtype} of shape {tuple(seed.shape)} on {seed.device}')
    return _soft_merge(labels, offsets, size, bbox, color.detach(), target, seed, kernel)


@define('soft_merge', '(Tensor labels, Tensor offsets, Tensor size, Tensor bbox, Tensor color, int target, Tensor? seed, str kernel)'
    ' -> (Tensor, Tensor)')
def _soft_merge(labels, offsets, size, bbox, color, target, seed, kernel):
    if color.device.type == 'cpu' and not color.isfinite().all():  # a GPU would have to wait
        raise ValueError('color must be finite, got NaN or infinite values')
    number = None if seed is None else int(seed)
    if use_ext(color):
        return torch.ops.dht_mm_ext.soft_merge(
            *contiguous_ints(labels, offsets, size, bbox), color.contiguous(), target, number, list(KERNELS).index(kernel))
    return reference.soft_merge(labels, offsets, size, bbox, color, target, number, kernel)


@_soft_merge.register_fake
def _(labels, offsets, size, bbox, color, target, seed, kernel):
    return torch.empty_like(size, dtype=torch.int32), torch.empty_like(offsets, dtype=torch.int32)
