"""Pixel features ``f0`` (paper section 3 and appendix): a fine and a coarse branch, summed."""

import torch
from torch import Tensor, nn

from dht_mm.ops import coarse_features, extend_to_multiple_of_4, fold_norm, pixel_features, project

from .batch_statistics import statistics_of_channels, statistics_of_linear, uses_batch


class FeatureProjection(nn.Module):
    """``f0 = SiLU(A(x) + U(x))``.

    ``A`` is a 1x1 convolution with batch norm; ``U`` two 2x2 convolutions of stride 2, each with batch norm, SiLU between them, and
    bilinear x4 upsampling with aligned corners. Images whose sides are not multiples of 4 are extended for ``U`` by repeating their
    last row and column. Every float is computed in float64 with single IEEE operations and rounded once at the end, and batch norm's
    statistics are integer sums, so that features are the same bits on every device; in evaluation also in every batch.

    Args:
        in_channels: Channels ``C`` of the image.
        hidden_channels: Channels ``d`` of the features.
    """

    def __init__(self, in_channels: int, hidden_channels: int):
        super().__init__()
        wide = 4 * hidden_channels
        self.pixel = nn.ModuleDict(dict(conv=nn.Conv2d(in_channels, hidden_channels, 1), norm=nn.BatchNorm2d(hidden_channels)))
        self.coarse = nn.ModuleDict(dict(
            conv1=nn.Conv2d(in_channels, wide, 2, stride=2), norm1=nn.BatchNorm2d(wide),
            conv2=nn.Conv2d(wide, hidden_channels, 2, stride=2), norm2=nn.BatchNorm2d(hidden_channels)))

    def forward(self, image: Tensor) -> Tensor:
        """``[B, C, H, W]`` float32 or float64 to ``[B, d, H, W]`` of the same dtype, for any H, W >= 1.

        Raises:
            ValueError: In training, a channel of batch norm has one value only (a batch of one image of up to 4x4 pixels).
        """
        fine, coarse = self.pixel, self.coarse
        layers = (fine['conv'], fine['norm']), (coarse['conv1'], coarse['norm1']), (coarse['conv2'], coarse['norm2'])
        if not (self._trains(image) or any(uses_batch(norm) for _, norm in layers)):
            return project(image, [_tensors(*layer) for layer in layers], [norm.eps for _, norm in layers])
        return pixel_features(image, self._coarse(image), _normed(image, self.pixel['conv'], self.pixel['norm']))

    def _trains(self, image: Tensor) -> bool:
        """Whether anybody wants a gradient."""
        return torch.is_grad_enabled() and (image.requires_grad or any(weight.requires_grad for weight in self.parameters()))

    def _coarse(self, image: Tensor) -> Tensor:
        coarse = self.coarse
        first = _normed(extend_to_multiple_of_4(image), coarse['conv1'], coarse['norm1'])
        conv, norm = coarse['conv2'], coarse['norm2']
        if not uses_batch(norm):
            return coarse_features(image, first, _fold(conv.weight.flatten(1), conv.bias, norm, norm.running_mean, norm.running_var))
        out = coarse_features(image, first, (conv.weight.flatten(1).double(), conv.bias.double()))
        scale, shift = _fold(torch.ones_like(conv.bias)[:, None], torch.zeros_like(conv.bias), norm, *statistics_of_channels(out, norm))
        return out * scale[:, None] + shift[:, None, None]


def _normed(image: Tensor, conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """A convolution of the image, whose patches lie side by side, and the norm behind it as one linear map of patches."""
    mean, variance = statistics_of_linear(image, conv, norm) if uses_batch(norm) else (norm.running_mean, norm.running_var)
    return _fold(conv.weight.flatten(1), conv.bias, norm, mean, variance)


def _tensors(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, ...]:
    return conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var


def _fold(weight: Tensor, bias: Tensor, norm: nn.Module, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    return fold_norm(weight, bias, norm.weight, norm.bias, mean, variance, norm.eps)
