"""The projection as differentiable matrix products in float64, for its gradient.

A gradient decides nothing, so it need not follow the exact order of the definition; matrix products are faster and deterministic.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .projection import extend_to_multiple_of_4


def fold_norm(grad_weight: Tensor, grad_bias: Tensor, weight: Tensor, bias: Tensor, gamma: Tensor, mean: Tensor, variance: Tensor,
              eps: float) -> tuple[Tensor, ...]:
    """Gradients of :func:`dht_mm.ops.fold_norm` to weight, bias, gamma and beta, in their dtypes, and to mean and variance, in float64."""
    inverse = torch.rsqrt(variance.double() + eps)
    scale = gamma.double() * inverse
    grad_scale = (grad_weight * weight).sum(1) + grad_bias * (bias.double() - mean)
    shifted = grad_bias * scale
    grads = (grad_weight * scale[:, None], shifted, grad_scale * inverse, grad_bias.clone())
    return (*(grad.to(like.dtype) for grad, like in zip(grads, (weight, bias, gamma, gamma), strict=True)),
            -shifted, -0.5 * grad_scale * scale * inverse**2)


def _patches_linear(image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution with patches of 2x2 and stride 2."""
    patches = F.pixel_unshuffle(image, 2)
    return (weight @ patches.flatten(2) + bias[:, None]).unflatten(2, patches.shape[2:])


def coarse_features(image: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
    """Equal to :func:`dht_mm.ops.coarse_features` but for rounding."""
    hidden = F.silu(_patches_linear(extend_to_multiple_of_4(image).double(), weight1, bias1))
    return _patches_linear(hidden, weight2, bias2)


def _upsampling(size: int, coarse_size: int, like: Tensor) -> Tensor:
    """``[size, coarse_size]``: bilinear weights of the first rows of x4 upsampling with aligned corners."""
    position = torch.arange(size, device=like.device, dtype=torch.float64) * (coarse_size - 1) / (4 * coarse_size - 1)
    distance = (position[:, None] - torch.arange(coarse_size, device=like.device)).abs()
    return (1.0 - distance).clamp_min(0.0)


def pixel_features(image: Tensor, coarse: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Equal to :func:`dht_mm.ops.pixel_features` but for rounding, in float64."""
    fine = (weight @ image.flatten(2).double() + bias[:, None]).unflatten(2, image.shape[2:])
    rows, columns = (_upsampling(size, coarse_size, coarse) for size, coarse_size in zip(image.shape[2:], coarse.shape[2:], strict=True))
    return F.silu(fine + rows @ coarse @ columns.mT)
