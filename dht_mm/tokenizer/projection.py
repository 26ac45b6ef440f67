"""Pixel features ``f0`` (paper section 3 and appendix): a fine and a coarse branch, summed."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dht_mm.ops import exact_linear, exact_silu, extend_to_multiple_of_4, project, upsample4


class FeatureProjection(nn.Module):
    """``f0 = SiLU(A(x) + U(x))``.

    ``A`` is a 1x1 convolution with batch norm; ``U`` two 2x2 convolutions of stride 2, each with batch norm, SiLU between them, and
    bilinear x4 upsampling with aligned corners. Images whose sides are not multiples of 4 are extended for ``U`` by repeating their
    last row and column. In evaluation every float is computed in float64 with single IEEE operations and rounded once at the end, so
    that the features of an image are the same bits in every batch and on every device; in training batch norm's statistics are the
    stock kernels'.

    Args:
        in_channels: Channels ``C`` of the image.
        hidden_channels: Channels ``d`` of the features.
    """

    def __init__(self, in_channels: int, hidden_channels: int):
        super().__init__()
        wide = 4 * hidden_channels
        self.hidden_channels = hidden_channels
        self.pixel = nn.ModuleDict(dict(conv=nn.Conv2d(in_channels, hidden_channels, 1), norm=nn.BatchNorm2d(hidden_channels)))
        self.coarse = nn.ModuleDict(dict(
            conv1=nn.Conv2d(in_channels, wide, 2, stride=2), norm1=nn.BatchNorm2d(wide),
            conv2=nn.Conv2d(wide, hidden_channels, 2, stride=2), norm2=nn.BatchNorm2d(hidden_channels)))

    def forward(self, image: Tensor) -> Tensor:
        """``[B, C, H, W]`` float32 or float64 to ``[B, d, H, W]`` of the same dtype, for any H, W >= 1."""
        layers = self._layers()
        if any(norm.training for _, norm in layers):
            return self._with_batch_statistics(image)
        parameters = torch.cat([tensor.flatten() for conv, norm in layers for tensor in (
            conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)])
        return project(image, parameters, self.hidden_channels, self.pixel['norm'].eps)

    def _layers(self) -> list[tuple[nn.Module, nn.Module]]:
        fine, coarse = self.pixel, self.coarse
        return [(fine['conv'], fine['norm']), (coarse['conv1'], coarse['norm1']), (coarse['conv2'], coarse['norm2'])]

    def _with_batch_statistics(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        fine, first, second = self._layers()
        coarse = _apply(second, exact_silu(_apply(first, extend_to_multiple_of_4(image))))
        return exact_silu(_apply(fine, image) + upsample4(coarse)[:, :, :height, :width]).to(image.dtype)


def _apply(layer: tuple[nn.Module, nn.Module], x: Tensor) -> Tensor:
    conv, norm = layer
    # A convolution whose stride is its kernel size is a linear map of patches.
    patches = F.pixel_unshuffle(x, conv.stride[0])
    out = exact_linear(patches.flatten(2), conv.weight.flatten(1), conv.bias).unflatten(2, patches.shape[2:])
    return norm(out.to(norm.weight.dtype)).double()
