"""Float64 functions made of single IEEE operations in a fixed order, so that every device and backend gets the same bits.

Library versions of ``exp`` and ``log`` differ in the last bit between vector body and tail, processors and GPUs, and one bit can move
a merge. Products and sums are never fused here: each torch call rounds once, and the compiled kernels are built without contraction.
Relative error below 1e-13.
"""

import math

import torch
from torch import Tensor

# ln 2 in two parts: the high one has 21 trailing zero bits, so that k * _LN2_HIGH is exact for every exponent k of a float64.
_LN2_HIGH = float.fromhex('0x1.62e42fee00000p-1')
_LN2_LOW = float.fromhex('0x1.a39ef35793c76p-33')
_LOG2_E = 1.0 / math.log(2.0)
_EXP_TERMS = tuple(1.0 / math.factorial(n) for n in range(11, -1, -1))
_LOG_TERMS = tuple(1.0 / n for n in range(19, 0, -2))


def power_of_two(exponent: Tensor) -> Tensor:
    """``2.0 ** exponent`` in float64 for integer exponents in [-1022, 1023], built from bits."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)


def split_exponent(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mantissa in [1, 2) and int64 exponent of positive, normal float64 values."""
    bits = x.contiguous().view(torch.int64)
    mantissa = ((bits & ((1 << 52) - 1)) | (1023 << 52)).view(torch.float64)
    return mantissa, (bits >> 52) - 1023


class _Exp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.clamp(-708.0, 709.0)
        power = torch.round(x * _LOG2_E)
        rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
        value = torch.full_like(x, _EXP_TERMS[0])
        for term in _EXP_TERMS[1:]:
            value.mul_(rest).add_(term)
        value.mul_(power_of_two(power))
        ctx.save_for_backward(value)
        return value

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        return grad * value


def exp(x: Tensor) -> Tensor:
    """``e ** x`` of a float64 tensor, clamped to the normal range; differentiable once."""
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


def sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + e ** -x)`` of a float64 tensor; differentiable once."""
    return 1.0 / (1.0 + exp(-x))


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
