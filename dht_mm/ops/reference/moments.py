"""First and second moments as fixed-point sums, in plain tensor operations."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .exact_linear import forward as exact_linear
from .exact_math import power_of_two, split_exponent


def exponent_of(values: Tensor) -> Tensor:
    """Smallest exponent ``e >= -64`` with ``|v| < 2^e`` for all values."""
    return split_exponent(values.abs().amax().double().clamp_min(2.0**-65))[1] + 1


def fixed_point_sum(terms: Tensor, exponent: Tensor) -> Tensor:
    """Sums over the last dimension of float64 terms below ``2^exponent``: each is rounded once to an integer of at most 50 bits."""
    bits = min(61 - (terms.shape[-1] - 1).bit_length(), 50) - exponent
    return (terms * power_of_two(bits)).round().long().sum(-1).double() * power_of_two(-bits)


def patch_moments(image: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """See :func:`dht_mm.ops.patch_moments`."""
    patches = F.pixel_unshuffle(image, stride).movedim(1, 0).flatten(1).double()
    exponent = exponent_of(image)
    second = torch.stack([fixed_point_sum(patches * row, 2 * exponent) for row in patches])
    return fixed_point_sum(patches, exponent), second


def linear_statistics(mean: Tensor, second: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`dht_mm.ops.linear_statistics`."""
    covariance, zeros = second - mean[:, None] * mean, torch.zeros_like(bias)
    products = exact_linear(covariance[None], weight, zeros)[0] * weight.double()
    variance = exact_linear(products.mT[None], torch.ones_like(weight[:1]), zeros[:1])[0, 0]
    return exact_linear(mean[None, :, None], weight, bias)[0, :, 0], variance.clamp_min(0.0)


def channel_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`dht_mm.ops.channel_moments`."""
    rows = values.movedim(1, 0).flatten(1)
    exponent = exponent_of(values)
    return fixed_point_sum(rows, exponent), fixed_point_sum(rows * rows, 2 * exponent)
