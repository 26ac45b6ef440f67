"""The texture of regions: how their image derivatives are distributed."""

from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dht_mm.ops import gradient_histogram
from dht_mm.structures import Partition

from .position import shares


class GradientFeatures(nn.Module):
    """Joint histogram of each region's derivatives along y and x, by share (paper, region features).

    Derivatives are those of the mean over channels, bent by :func:`arcsinh_curve`. Histograms are flat almost everywhere, so
    neither the images nor the curve get a gradient: the curve is a setting, kept with the weights.

    Args:
        bins: Bins ``q`` along each of the two derivatives; shares are divided by ``(q / 32)^2``.
        curve: Parameters of the curve for y and x. 0 leaves the derivatives as they are, as the published weights do.

    Attributes:
        curve: ``[2, 1, 1]``, these parameters.
        dims: Length of a row, ``q * q``.
    """

    def __init__(self, bins: int, curve: tuple[float, float] = (0.0, 0.0)):
        super().__init__()
        if not isinstance(curve, (tuple, list)) or len(curve) != 2 or not all(isinstance(value, Real) for value in curve):
            raise ValueError(f'curve must be two numbers, for y and for x, got {curve!r}')
        self.bins = bins
        self.dims = bins**2
        self.register_buffer('curve', torch.tensor(curve, dtype=torch.float32)[:, None, None])

    @torch.no_grad()
    def forward(self, image: Tensor, partition: Partition) -> Tensor:
        """``[B, C, H, W]`` images to ``[R, q * q]``, y-major, in their dtype."""
        gradient = arcsinh_curve(scharr_gradient(image), self.curve.double()).float()
        counts = gradient_histogram(gradient, partition.labels, partition.offsets, partition.total_regions, self.bins)
        return shares(counts, partition, self.bins, image.dtype)


def scharr_gradient(image: Tensor) -> Tensor:
    """Scharr derivatives of the mean over channels, with replicated borders, a pixel's step being 1.

    A value that moves by a rounding error can change its bin, and with it the token of a small region. Hence no convolution, but
    single float64 operations in a fixed order, which give the same bits in every batch and on every device.

    Args:
        image: ``[B, C, H, W]`` float.

    Returns:
        ``[B, 2, H, W]`` float64, along y and x.
    """
    total = image[:, 0].double()
    for channel in image[:, 1:].unbind(1):
        total = total + channel.double()
    grey = F.pad((total / image.shape[1])[:, None], (1, 1, 1, 1), mode='replicate')[:, 0]
    return torch.stack([_derivative(grey), _derivative(grey.mT).mT], 1)


def _derivative(grey: Tensor) -> Tensor:
    """Along the rows: ``[B, H + 2, W + 2]`` to ``[B, H, W]``."""
    step = grey[:, 2:] - grey[:, :-2]
    return ((step[:, :, :-2] + step[:, :, 2:]) * 3 + step[:, :, 1:-1] * 10) / 32


def arcsinh_curve(x: Tensor, bend: Tensor) -> Tensor:
    """An odd, increasing curve through (1, 1) that spreads small values where ``bend`` > 0 and large ones where it is < 0.

    ``asinh(bend x) / asinh(bend)`` for positive, ``sinh(x asinh bend) / bend`` for negative ``bend``, ``x`` for 0.
    """
    safe = torch.where(bend == 0, 1.0, bend)
    bent = torch.where(bend > 0, torch.asinh(safe * x) / torch.asinh(safe), torch.sinh(x * torch.asinh(safe)) / safe)
    return torch.where(bend == 0, x, bent)
