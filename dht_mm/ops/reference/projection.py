"""The projection of pixels to features, step by step, in plain tensor operations."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .exact_linear import forward as exact_linear
from .exact_math import sigmoid, sqrt


def silu(x: Tensor) -> Tensor:
    """``x sigmoid(x)`` of a float64 tensor."""
    return x * sigmoid(x)


def extend_to_multiple_of_4(image: Tensor) -> Tensor:
    """Repeat the last row and column of ``[B, C, H, W]`` until both sides are multiples of 4."""
    height, width = image.shape[2:]
    return F.pad(image, (0, -width % 4, 0, -height % 4), mode='replicate') if height % 4 or width % 4 else image


def fold_norm(weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor,
              eps: float) -> tuple[Tensor, Tensor]:
    """See :func:`dht_mm.ops.fold_norm`."""
    scale = gamma.double() / sqrt(variance.double() + eps)
    return weight.double() * scale[:, None], (bias.double() - mean.double()) * scale + beta.double()


def coarse_features(image: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
    """See :func:`dht_mm.ops.coarse_features`."""
    patches = F.pixel_unshuffle(extend_to_multiple_of_4(image), 2)
    hidden = silu(exact_linear(patches.flatten(2), weight1, bias1)).unflatten(2, patches.shape[2:])
    hidden = F.pixel_unshuffle(hidden, 2)
    # A sum over the hidden channels for each of the 2 x 2 positions, then a sum of the four.
    upper_left, upper_right, lower_left, lower_right = (
        exact_linear(hidden[:, tap::4].flatten(2), weight2[:, tap::4], torch.zeros_like(bias2)) for tap in range(4))
    out = bias2[:, None] + ((upper_left + upper_right) + (lower_left + lower_right))
    return out.unflatten(2, hidden.shape[2:])


def _between(size: int, coarse_size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Lower and upper coarse index of the first ``size`` rows of an x4 upsampling with aligned corners, and the way between them."""
    steps = 4 * coarse_size - 1
    position = torch.arange(size, device=device) * (coarse_size - 1)
    low = position // steps
    return low, (low + 1).clamp_max(coarse_size - 1), (position - low * steps).double() * (1.0 / steps)


def pixel_features(image: Tensor, coarse: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See :func:`dht_mm.ops.pixel_features`."""
    (low_row, high_row, down), (low_column, high_column, across) = (
        _between(size, coarse_size, image.device) for size, coarse_size in zip(image.shape[2:], coarse.shape[2:], strict=True))
    left, right = coarse[..., low_column], coarse[..., high_column]
    columns = left + (right - left) * across
    low, high = columns[:, :, low_row], columns[:, :, high_row]
    out = (low + bias[:, None, None]) + (high - low) * down[:, None]
    for channel in range(image.shape[1]):
        out += image[:, None, channel].double() * weight[:, channel, None, None]
    return silu(out).to(image.dtype)
