"""The mean of pixel features over regions."""

import torch
from torch import Tensor

from .backend import contiguous_ints, use_ext
from .checks import check_labels
from .op import define
from .reference import region_mean as reference
from .reference.packing import paint


def region_mean(features: Tensor, labels: Tensor, offsets: Tensor, size: Tensor) -> Tensor:
    """Average pixel features over each region.

    Args:
        features: ``[B, D, H, W]`` float, finite.
        labels: ``[B, H, W]`` integer, the region of each pixel, numbered per image.
        offsets: ``[B + 1]`` integer, first row of each image.
        size: ``[R]`` integer, pixels of each region; 0 in rows of no region, whose mean is 0.

    Returns:
        ``[R, D]`` in the dtype of ``features``, differentiable to ``features``. Added up in float64 or in integers, so that the
        compiled kernels give the same bits in every run, for any number of threads and on every device.

    Raises:
        TypeError: ``features`` is not floating point, or ``labels`` or ``offsets`` are not integers.
        ValueError: The shapes do not fit together.
    """
    check_labels(labels, offsets, features=features, size=size)
    if not features.is_floating_point():
        raise TypeError(f'features must be floating point, got {features.dtype}')
    if features.dim() != 4 or (features.shape[0], *features.shape[2:]) != labels.shape:
        raise ValueError(f'features must be [B, D, H, W] for labels of {tuple(labels.shape)}, got shape {tuple(features.shape)}')
    if size.dim() != 1:
        raise ValueError(f'size must be [R], got shape {tuple(size.shape)}')
    return _region_mean(features, labels, offsets, size)


@define('region_mean', '(Tensor features, Tensor labels, Tensor offsets, Tensor size) -> Tensor')
def _region_mean(features, labels, offsets, size):
    if use_ext(features):
        return torch.ops.dht_mm_ext.region_mean(features.contiguous(), *contiguous_ints(labels, offsets, size))
    return reference.region_mean(features, labels, offsets, size)


@_region_mean.register_fake
def _(features, labels, offsets, size):
    return features.new_empty(size.shape[0], features.shape[1])


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[1:])


def _backward(ctx, grad):
    labels, offsets, size = ctx.saved_tensors
    return paint(grad / size[:, None], labels, offsets), None, None, None


_region_mean.register_autograd(_backward, setup_context=_setup_context)
