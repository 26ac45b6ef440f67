"""Weights of edges between regions (paper section 3, similarity kernels and compactness), in float64 and symmetric to the bit.

Features are planes ``[d, n]``: sums over channels run over ``d`` in order, which fixes their rounding.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .exact_math import exp, sqrt

# Guards 0 / 0 of the normalised kernels at zero features; their similarity to anything is then 0.
_TINY = 1e-300


def _dot(first: Tensor, second: Tensor) -> Tensor:
    total = first[0] * second[0]
    for a, b in zip(first[1:], second[1:], strict=True):
        total = total + a * b
    return total


def gaussian(first: Tensor, second: Tensor) -> Tensor:
    """``exp(-|f_u - f_v|^2)``: ``[d, n]`` planes to ``[n]``."""
    difference = first - second
    return exp(-_dot(difference, difference))


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """``f_u . f_v / (|f_u| |f_v|)`` clipped to [0, 1]: ``[d, n]`` planes to ``[n]``."""
    norms = (_dot(first, first) * _dot(second, second)).clamp_min(_TINY)
    return (_dot(first, second) / sqrt(norms)).clamp(0.0, 1.0)


def tanimoto(first: Tensor, second: Tensor) -> Tensor:
    """``f_u . f_v / (|f_u|^2 + |f_v|^2 - f_u . f_v)`` clipped to [0, 1]: ``[d, n]`` planes to ``[n]``."""
    dot = _dot(first, second)
    union = (_dot(first, first) + _dot(second, second) - dot).clamp_min(_TINY)
    return (dot / union).clamp(0.0, 1.0)


KERNELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {'gaussian': gaussian, 'cosine': cosine, 'tanimoto': tanimoto}


def unite(first: Tensor, second: Tensor) -> Tensor:
    """Union of bounding boxes given as ``[4, n]`` planes ymin, xmin, ymax, xmax."""
    return torch.cat([torch.minimum(first[:2], second[:2]), torch.maximum(first[2:], second[2:])])


def compactness_of(size: Tensor, box: Tensor) -> Tensor:
    """``4 |S| / (2 + dy + dx)^2`` of regions with integer ``size`` ``[n]`` and box planes ``[4, n]``; 1 for squares."""
    extent = 2 + (box[2] - box[0]) + (box[3] - box[1])
    return (4 * size).double() / (extent * extent).double()


def quantize(weight: Tensor) -> Tensor:
    """The 16-bit integer at which weights are compared (int64): ``floor(65535 w)`` computed in float32.

    The rounding makes weights that differ from 1 by less than float32 can tell count as 1, as in the published code.
    """
    return (weight.float().clamp(0.0, 1.0) * 65535.0).floor().long()
