"""Float64 functions made of single IEEE operations in a fixed order, so that every device and backend gets the same bits.

Library versions of ``exp`` and ``log`` differ in the last bit between vector body and tail, processors and GPUs, and one bit can move
a merge. Products and sums are never fused here: each torch call rounds once, and the compiled kernels are built without contraction.
Relative errors are below 5e-11 (``exp``), 1e-10 (``sigmoid``) and 1e-13 (``log``): what is stored is float32, whose own is 6e-8.
"""

import math

import torch
from torch import Tensor

# ln 2 in two parts: the high one has 21 trailing zero bits, so that k * _LN2_HIGH is exact for every exponent k of a float64.
_LN2_HIGH = float.fromhex('0x1.62e42fee00000p-1')
_LN2_LOW = float.fromhex('0x1.a39ef35793c76p-33')
_PER_LN2 = 1.0 / math.log(2.0)
# Minimax for 2^(r/16), and for odd and even in 2^r = (even + odd) / (even - odd), |r| <= 1/2; found by weighted least squares.
_EXP_TERMS = tuple(map(float.fromhex, (
    '0x1.3b2a3012ed2f2p-23', '0x1.c6b3f67473406p-17', '0x1.ebfbdffda4febp-11', '0x1.62e42fec3c855p-5', '0x1p+0')))
_ODD_TERM = float.fromhex('0x1.f44788cb401c1p+6')
_EVEN_TERMS = tuple(map(float.fromhex, ('0x1.155815900137dp+4', '0x1.68e0157b9d6f6p+8')))
_LOG_TERMS = tuple(1.0 / n for n in range(19, 0, -2))


def power_of_two(exponent: Tensor) -> Tensor:
    """``2.0 ** exponent`` in float64 for integer exponents in [-1022, 1023], built from bits."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)


def split_exponent(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mantissa in [1, 2) and int64 exponent of positive, normal float64 values."""
    bits = x.contiguous().view(torch.int64)
    mantissa = ((bits & ((1 << 52) - 1)) | (1023 << 52)).view(torch.float64)
    return mantissa, (bits >> 52) - 1023


def _to_binary(x: Tensor, per_ln2: float) -> tuple[Tensor, Tensor]:
    """``x / ln 2`` as nearest integer and rest in [-1/2, 1/2]; ``x`` is clamped to +-700."""
    scaled = x.clamp(-700.0, 700.0) * per_ln2
    power = torch.round(scaled)
    return power.long(), scaled - power


def _scale_by_power(value: Tensor, power: Tensor) -> Tensor:
    return (value.view(torch.int64) + (power << 52)).view(torch.float64)


class _Exp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        power, rest = _to_binary(x, _PER_LN2)
        value = torch.full_like(rest, _EXP_TERMS[0])
        for term in _EXP_TERMS[1:]:
            value.mul_(rest).add_(term)
        for _ in range(4):
            value.mul_(value)
        value = _scale_by_power(value, power)
        ctx.save_for_backward(value)
        return value

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        return grad * value


def exp(x: Tensor) -> Tensor:
    """``e ** x`` of a float64 tensor, ``x`` clamped to +-700; differentiable once."""
    return _Exp.apply(x)


class _Sqrt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        # Vector libraries may miss the last bit: step to the neighbour where the exact residual (Dekker's product) lies beyond the middle.
        root = torch.sqrt(x)
        high = root * 134217729.0
        high = high - (high - root)
        low = root - high
        square = root * root
        residual = (x - square) - (((high * high - square) + 2.0 * (high * low)) + low * low)
        above = torch.nextafter(root, torch.full_like(root, torch.inf)) - root
        below = root - torch.nextafter(root, torch.zeros_like(root))
        root = root + torch.where(residual > root * above, above, 0.0) - torch.where(residual <= -root * below, below, 0.0)
        ctx.save_for_backward(root)
        return root

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (root,) = ctx.saved_tensors
        return grad / (2.0 * root)


def sqrt(x: Tensor) -> Tensor:
    """Correctly rounded square root of a float64 tensor of values in [0, 1e300]; differentiable once."""
    return _Sqrt.apply(x)


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        power, rest = _to_binary(x, -_PER_LN2)
        square = rest * rest
        odd = (square + _ODD_TERM) * rest
        even = square * _EVEN_TERMS[0] + _EVEN_TERMS[1]
        below = even - odd
        value = below * (1.0 / (below + _scale_by_power(even + odd, power)))
        ctx.save_for_backward(value)
        return value

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        return grad * value * (1.0 - value)


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + e ** -x)`` of a float64 tensor, ``x`` clamped to +-700; differentiable once."""
    return _Sigmoid.apply(x)


def log(x: Tensor) -> Tensor:
    """Natural logarithm of positive, normal float64 values; not differentiable."""
    mantissa, exponent = split_exponent(x)
    large = mantissa > math.sqrt(2.0)
    mantissa = torch.where(large, mantissa * 0.5, mantissa)
    power = (exponent + large).double()
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    series = torch.full_like(x, _LOG_TERMS[0])
    for term in _LOG_TERMS[1:]:
        series = series * square + term
    return power * _LN2_HIGH + (power * _LN2_LOW + 2.0 * ratio * series)
