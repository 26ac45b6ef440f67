"""What a window does not tell of its region: which of its pixels are the region's, the region's colours, size and extent."""

import torch
from torch import Tensor, nn

from dht_mm.ops import region_mean
from dht_mm.structures import Partition

from .windows import Windows


class FormFeatures(nn.Module):
    """Describe a region beside its window. Not in the paper; what it is worth is in ``docs/experiments.md``.

    Args:
        in_channels: Channels ``C`` of the images.
        patch_size: Side ``q`` of the windows.

    Attributes:
        dims: Length of a row, ``q * q + 2 * C + 5``: for each of the window's pixels whether it is the region's; mean and deviation of
            the region's colours; logarithm of its size in windows; along y and then along x, in windows, the way from the window's middle
            to the centroid and the side of its box.
    """

    def __init__(self, in_channels: int, patch_size: int):
        super().__init__()
        self.dims = patch_size**2 + 2 * in_channels + 5

    def forward(self, image: Tensor, partition: Partition, windows: Windows, mask: Tensor, shift: Tensor | None = None) -> Tensor:
        """``[R, dims]`` in the dtype of the images.

        Args:
            image: ``[B, C, H, W]`` float.
            partition: Its regions.
            windows: Their windows.
            mask: ``[R, 1, q, q]``, which of the windows' pixels are the region's own.
            shift: ``[R, C]``, added to the mean colours; differentiable to it.
        """
        colour, deviation = self._colours(image, partition).chunk(2, 1)
        if shift is not None:
            colour = colour + shift
        return torch.cat([mask.flatten(1), colour, deviation, self._extent(partition, windows).to(image.dtype)], 1)

    @staticmethod
    @torch.no_grad()
    def _colours(image: Tensor, partition: Partition) -> Tensor:
        """``[R, 2 C]``: mean and standard deviation of each region's pixels."""
        moments = region_mean(torch.cat([image, image.square()], 1), partition.labels, partition.offsets, partition.size)
        mean, square = moments.chunk(2, 1)
        return torch.cat([mean, (square - mean.square()).clamp(min=0).sqrt()], 1)

    @staticmethod
    @torch.no_grad()
    def _extent(partition: Partition, windows: Windows) -> Tensor:
        """``[R, 5]`` float64: log size, and along each axis offset and side, in windows."""
        height, width = (windows.patch_size / scale for scale in windows.scale)  # of a window, in pixels
        middle = windows.middle
        extent = [(partition.size.clamp_min(1).double() / (height * width)).log()]
        for axis, side in enumerate((height, width)):
            place = middle[:, axis] * partition.labels.shape[1 + axis]
            length = partition.bbox[:, 2 + axis] + 1 - partition.bbox[:, axis]
            extent += [(windows.centroid[:, axis] + 0.5 - place) / side, length / side]
        return torch.stack(extent, 1)
