"""Sums behind batch norm's statistics, the same bits on every device and for any number of threads: they are sums of integers."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .backend import use_ext
from .checks import check_positive, check_tensors
from .op import define
from .reference import moments as reference


def patch_moments(image: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Sums of patches and of their outer products: what the mean and the variance of any linear map of patches follow from.

    Args:
        image: ``[B, C, H, W]`` float.
        stride: Side of the patches, which lie side by side; H and W are multiples of it.

    Returns:
        ``[K]`` and ``[K, K]`` float64 with ``K = C stride²``, in the order (channel, row, column); differentiable once. The terms are
        rounded to multiples of ``2^-39`` or less of the largest one there can be in images of up to 4 million patches.

    Raises:
        ValueError: ``image`` has nothing in it or another form, or ``stride`` is not positive or does not divide the sides of the image.
    """
    check_tensors(image=image)
    check_positive(stride=stride)
    if image.dim() != 4 or image.numel() == 0 or not image.is_floating_point():
        raise ValueError(f'image must be a non-empty float [B, C, H, W], got {image.dtype} of shape {tuple(image.shape)}')
    if image.shape[2] % stride or image.shape[3] % stride:
        raise ValueError(f'stride must divide the sides of the image {tuple(image.shape[2:])}, got {stride}')
    return _patch_moments(image, stride)


@define('patch_moments', '(Tensor image, int stride) -> (Tensor, Tensor)')
def _patch_moments(image, stride):
    if use_ext(image):
        return torch.ops.dht_mm_ext.patch_moments(image.contiguous(), stride)
    return reference.patch_moments(image, stride)


@_patch_moments.register_fake
def _(image, stride):
    size = image.shape[1] * stride**2
    return image.new_empty(size, dtype=torch.float64), image.new_empty(size, size, dtype=torch.float64)


def _setup_patches(ctx, inputs, output):
    image, ctx.stride = inputs
    ctx.save_for_backward(image)


def _backward_patches(ctx, grad_first, grad_second):
    (image,) = ctx.saved_tensors
    patches = F.pixel_unshuffle(image, ctx.stride)
    grad = (grad_second + grad_second.mT) @ patches.flatten(2).double() + grad_first[:, None]
    return F.pixel_shuffle(grad.unflatten(2, patches.shape[2:]), ctx.stride).to(image.dtype), None


_patch_moments.register_autograd(_backward_patches, setup_context=_setup_patches)


def linear_statistics(mean: Tensor, second: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of a linear map of patches from the moments of the patches.

    Args:
        mean: ``[K]`` float64, mean patch.
        second: ``[K, K]`` float64, mean outer product.
        weight: ``[O, K]`` float.
        bias: ``[O]`` float.

    Returns:
        ``[O]`` and ``[O]`` float64; the variance is not corrected for its degrees of freedom. Differentiable once.
    """
    return _linear_statistics(mean, second, weight, bias)


@define('linear_statistics', '(Tensor mean, Tensor second, Tensor weight, Tensor bias) -> (Tensor, Tensor)')
def _linear_statistics(mean, second, weight, bias):
    if use_ext(weight):
        return torch.ops.dht_mm_ext.linear_statistics(*(tensor.contiguous() for tensor in (mean, second, weight, bias)))
    return reference.linear_statistics(mean, second, weight, bias)


@_linear_statistics.register_fake
def _(mean, second, weight, bias):
    return mean.new_empty(bias.shape), mean.new_empty(bias.shape)


def _setup_statistics(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:3])


def _backward_statistics(ctx, grad_mean, grad_variance):
    mean, second, weight = ctx.saved_tensors
    wide, doubled = weight.double(), 2.0 * grad_variance[:, None]
    covariance = torch.addcmul(second, mean[:, None], mean, value=-1.0)
    to_weight = torch.addcmul(grad_mean[:, None] * mean, doubled, wide @ covariance)
    to_mean = to_second = None
    if ctx.needs_input_grad[0]:
        to_second = (wide * grad_variance[:, None]).mT @ wide
        to_mean = grad_mean @ wide - 2.0 * (to_second @ mean)
    return to_mean, to_second, to_weight.to(weight.dtype), grad_mean.to(weight.dtype)


_linear_statistics.register_autograd(_backward_statistics, setup_context=_setup_statistics)


def channel_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of the values and of their squares in each channel of ``[B, d, h, w]`` float64: ``[d]`` and ``[d]``; differentiable once."""
    check_tensors(values=values)
    if values.dim() != 4 or values.numel() == 0 or not values.is_floating_point():
        raise ValueError(f'values must be a non-empty float [B, d, h, w], got {values.dtype} of shape {tuple(values.shape)}')
    return _channel_moments(values)


@define('channel_moments', '(Tensor values) -> (Tensor, Tensor)')
def _channel_moments(values):
    if use_ext(values, (torch.float64,)):
        return torch.ops.dht_mm_ext.channel_moments(values.permute(0, 2, 3, 1).contiguous() if values.is_cuda else values.contiguous())
    return reference.channel_moments(values)


@_channel_moments.register_fake
def _(values):
    return values.new_empty(values.shape[1]), values.new_empty(values.shape[1])


def _setup_channels(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward_channels(ctx, grad_first, grad_second):
    (values,) = ctx.saved_tensors
    return torch.addcmul(grad_first[:, None, None], values, 2.0 * grad_second[:, None, None])


_channel_moments.register_autograd(_backward_channels, setup_context=_setup_channels)
