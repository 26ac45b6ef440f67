"""The projection as differentiable matrix products, for its gradient.

A gradient decides nothing, so it need not follow the exact order of the definition; matrix products are faster and deterministic.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .projection import extend_to_multiple_of_4


def _layer(image: Tensor, parameters: Tensor, outputs: int, inputs: int, stride: int, eps: float) -> tuple[Tensor, Tensor]:
    weight, bias, gamma, beta, mean, variance, rest = parameters.split(
        [outputs * inputs, *[outputs] * 5, parameters.numel() - outputs * (inputs + 5)])
    patches = F.pixel_unshuffle(image, stride)
    scale = gamma / torch.sqrt(variance + eps)
    out = (weight.view(outputs, inputs) * scale[:, None]) @ patches.flatten(2) + ((bias - mean) * scale + beta)[:, None]
    return out.unflatten(2, patches.shape[2:]), rest


def _upsampling(size: int, like: Tensor) -> Tensor:
    """``[4 size, size]``: bilinear weights of x4 upsampling with aligned corners."""
    position = torch.arange(4 * size, device=like.device, dtype=torch.float64) * (size - 1) / (4 * size - 1)
    distance = (position[:, None] - torch.arange(size, device=like.device)).abs()
    return (1.0 - distance).clamp_min(0.0).to(like.dtype)


def project(image: Tensor, parameters: Tensor, channels: int, eps: float) -> Tensor:
    """``[B, C, H, W]`` and the vector of :func:`dht_mm.ops.project` to ``[B, d, H, W]``, equal to it but for rounding."""
    in_channels, height, width = image.shape[1:]
    fine, rest = _layer(image, parameters, channels, in_channels, 1, eps)
    hidden, rest = _layer(extend_to_multiple_of_4(image), rest, 4 * channels, 4 * in_channels, 2, eps)
    coarse, _ = _layer(F.silu(hidden), rest, channels, 16 * channels, 2, eps)
    rows, columns = (_upsampling(side, coarse) for side in coarse.shape[2:])
    return F.silu(fine + (rows @ coarse @ columns.mT)[:, :, :height, :width])
