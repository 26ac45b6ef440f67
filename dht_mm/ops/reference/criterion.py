"""Information criterion of regions (paper eq. 6 and 7), in float64."""

import math
from collections.abc import Callable

from torch import Tensor

from .exact_math import log, sqrt


def _aic(k: Tensor, size: Tensor) -> Tensor:
    return 2.0 * k


def _aicc(k: Tensor, size: Tensor) -> Tensor:
    return 2.0 * k + 2.0 * (k * k + k) / (size - k - 1.0)


def _bic(k: Tensor, size: Tensor) -> Tensor:
    return k * log(size)


def _cic(k: Tensor, size: Tensor) -> Tensor:
    return k * (log(size) + 1.0)


PENALTIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {'aic': _aic, 'aicc': _aicc, 'bic': _bic, 'cic': _cic}

# Largest determinant that the logarithm sees; only images of absurd range reach it.
_LARGEST = 1e300


def score(variance: Tensor, size: Tensor, num_pixels: int, criterion: str, iota: float) -> Tensor:
    """Negative information criterion of regions; larger is better.

    Args:
        variance: ``[d, n]`` float64 planes.
        size: ``[n]`` integer, pixels of each region.
        num_pixels: Pixels of the image.
        criterion: A key of ``PENALTIES``.
        iota: Added to the determinant, so that flat regions have a finite likelihood.

    Returns:
        ``[n]`` float64.
    """
    determinant = variance[0] * (2.0 * math.pi)
    for plane in variance[1:]:
        determinant = (determinant * (plane * (2.0 * math.pi))).clamp_max(_LARGEST)
    likelihood = size.double() / num_pixels * log((determinant + iota).clamp(1e-300, _LARGEST))
    # A single pixel has no internal edge; the small shift keeps its k finite.
    size = size.double() + 1e-8
    k = 1.0 / (2.0 * size - 2.0 * sqrt(size))
    return -(likelihood + PENALTIES[criterion](k, size))
