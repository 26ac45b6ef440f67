"""The projection of pixels to features with running statistics, and its steps, in plain tensor operations."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .exact_linear import exact_linear
from .exact_math import sigmoid, sqrt


def silu(x: Tensor) -> Tensor:
    """``x sigmoid(x)`` of a float64 tensor."""
    return x * sigmoid(x)


def upsample4(x: Tensor) -> Tensor:
    """Bilinear x4 upsampling with aligned corners of ``[B, C, h, w]`` float64; both weights come from exact integer fractions."""
    return _upsample4_rows(_upsample4_rows(x).mT).mT


def _upsample4_rows(x: Tensor) -> Tensor:
    size = x.shape[2]
    position = torch.arange(4 * size, device=x.device) * (size - 1)
    low = position // (4 * size - 1)
    fraction = ((position - low * (4 * size - 1)).double() / (4 * size - 1))[:, None]
    high = (low + 1).clamp_max(size - 1)
    return x[:, :, low] * (1.0 - fraction) + x[:, :, high] * fraction


def extend_to_multiple_of_4(image: Tensor) -> Tensor:
    """Repeat the last row and column of ``[B, C, H, W]`` until both sides are multiples of 4."""
    height, width = image.shape[2:]
    return F.pad(image, (0, -width % 4, 0, -height % 4), mode='replicate')


def _layer(image: Tensor, parameters: Tensor, outputs: int, inputs: int, stride: int, eps: float) -> tuple[Tensor, Tensor]:
    """Apply the first layer in a vector of parameters; also returns the rest of the vector."""
    weight, bias, gamma, beta, mean, variance, rest = parameters.split(
        [outputs * inputs, *[outputs] * 5, parameters.numel() - outputs * (inputs + 5)])
    patches = F.pixel_unshuffle(image, stride)
    out = exact_linear(patches.flatten(2), weight.view(outputs, inputs), bias).unflatten(2, patches.shape[2:])
    scale = gamma.double() / sqrt(variance.double() + eps)
    return (out - mean.double()[:, None, None]) * scale[:, None, None] + beta.double()[:, None, None], rest


def project(image: Tensor, parameters: Tensor, channels: int, eps: float) -> Tensor:
    """Pure-torch implementation of :func:`dht_mm.ops.project`."""
    in_channels, height, width = image.shape[1:]
    fine, rest = _layer(image, parameters, channels, in_channels, 1, eps)
    hidden, rest = _layer(extend_to_multiple_of_4(image), rest, 4 * channels, 4 * in_channels, 2, eps)
    coarse, _ = _layer(silu(hidden), rest, channels, 16 * channels, 2, eps)
    return silu(fine + upsample4(coarse)[:, :, :height, :width]).to(image.dtype)
