"""Merging the regions of a partition down to a token budget."""

import torch
from torch import Tensor

from .reference import budget as reference
from .reference.edge_weight import KERNELS


def soft_merge(labels: Tensor, offsets: Tensor, size: Tensor, bbox: Tensor, color: Tensor, target: int, *, seed: int | None = None,
               kernel: str = 'gaussian') -> Tensor:
    """One round of merging that keeps ``target`` regions an image and lets the others join their most similar neighbour.

    Dropped regions also merge among themselves, so more or fewer than ``target`` regions can remain (paper section 3.4). An image of
    at most ``target`` regions stays as it is.

    Args:
        labels: ``[B, H, W]`` integer, canonical labels of each image.
        offsets: ``[B + 1]`` integer, first row of each image.
        size: ``[R]`` integer, pixels.
        bbox: ``[R, 4]`` integer.
        color: ``[R, C]``, predicted mean colours.
        target: Regions to keep in each image, at least 1.
        seed: ``None`` keeps the smallest regions, ties to the smaller label; an integer below 2**63 keeps a sample without replacement
            with probability proportional to ``1 / sqrt(size)``, which depends on the seed and the image's own regions alone.
        kernel: Similarity of colours.

    Returns:
        ``[R]`` int64: row of each region in the merged partition, image after image, in canonical order.

    Raises:
        ValueError: ``target`` or ``kernel`` is out of range.
    """
    _check_target(target)
    if kernel not in KERNELS:
        raise ValueError(f'kernel must be one of {sorted(KERNELS)}, got {kernel!r}')
    return _soft_merge(labels, offsets, size, bbox, color.detach(), target, seed, kernel)


def hard_merge(labels: Tensor, offsets: Tensor, size: Tensor, color: Tensor, target: int) -> Tensor:
    """Merge neighbours, mutually cheapest pairs first, until no image has more than ``target`` regions.

    The cost of a pair is the growth of the squared colour error when both are painted with one colour (Ward, 1963):
    ``m_u m_v / (m_u + m_v) |c_u - c_v|^2``. Equal costs are ordered by label.

    Args:
        labels: ``[B, H, W]`` integer, canonical labels of each image.
        offsets: ``[B + 1]`` integer, first row of each image.
        size: ``[R]`` integer, pixels.
        color: ``[R, C]``, colours of the regions.
        target: Most regions of an image, at least 1.

    Returns:
        ``[R]`` int64: row of each region in the merged partition, image after image, in canonical order.

    Raises:
        ValueError: ``target`` is out of range.
    """
    _check_target(target)
    return _hard_merge(labels, offsets, size, color.detach(), target)


def _check_target(target: int) -> None:
    if isinstance(target, bool) or not isinstance(target, int) or target < 1:
        raise ValueError(f'target must be a positive integer, got {target!r}')


def _rows(labels: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Packed row of each pixel, and image of each row."""
    offsets = offsets.long()
    image = torch.arange(len(labels), device=labels.device).repeat_interleave(offsets.diff())
    return labels.long() + offsets[:-1, None, None], image


@torch.library.custom_op(
    'dht_mm::soft_merge', mutates_args=(),
    schema='(Tensor labels, Tensor offsets, Tensor size, Tensor bbox, Tensor color, int target, int? seed, str kernel) -> Tensor')
def _soft_merge(labels, offsets, size, bbox, color, target, seed, kernel):
    packed, image = _rows(labels, offsets)
    return reference.soft_merge(packed, offsets.long(), image, size.long(), bbox.long(), color, target, seed, kernel)


@_soft_merge.register_fake
def _(labels, offsets, size, bbox, color, target, seed, kernel):
    return torch.empty_like(size, dtype=torch.int64)


@torch.library.custom_op(
    'dht_mm::hard_merge', mutates_args=(), schema='(Tensor labels, Tensor offsets, Tensor size, Tensor color, int target) -> Tensor')
def _hard_merge(labels, offsets, size, color, target):
    packed, image = _rows(labels, offsets)
    return reference.hard_merge(packed, image, size.long(), color, target)


@_hard_merge.register_fake
def _(labels, offsets, size, color, target):
    return torch.empty_like(size, dtype=torch.int64)
