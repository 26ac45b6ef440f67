"""The appearance of regions: their boxes resampled to one size, with pixels of other regions faded out."""

import math

import torch
from torch import Tensor, nn

from dht_mm.ops import region_pixels
from dht_mm.structures import Partition

INITIAL_MIX = 0.01


class PixelFeatures(nn.Module):
    """Resample every region's box to ``q x q`` pixels and replace most of what is not the region's own (paper, region features).

    With the sample ``s`` and the soft mask ``M`` of a region: ``M s + (1 - M) (l s + (1 - l) b)``, where the share ``l`` of other
    regions' pixels and the colours ``b`` that stand for them are learned.

    Args:
        in_channels: Channels ``C`` of the images.
        patch_size: Side ``q`` of the resampled boxes.

    Attributes:
        mix_logit: ``[1]``, ``l`` before the sigmoid.
        mask_token: ``[C, q, q]``, ``b``.
        dims: Length of a row, ``C * q * q``.
    """

    def __init__(self, in_channels: int, patch_size: int):
        super().__init__()
        self.patch_size = patch_size
        self.dims = in_channels * patch_size**2
        self.mix_logit = nn.Parameter(torch.tensor([math.log(INITIAL_MIX / (1 - INITIAL_MIX))]))
        self.mask_token = nn.Parameter(0.1 * torch.randn(in_channels, patch_size, patch_size))

    def forward(self, image: Tensor, partition: Partition, shift: Tensor | None = None) -> Tensor:
        """Pixels of each region.

        Args:
            image: ``[B, C, H, W]`` float.
            partition: Its regions.
            shift: ``[R, C]``, added to the pixels of each region before they are sampled.

        Returns:
            ``[R, C * q * q]``, channel-major, in the dtype of ``image`` or of autocast; differentiable to ``image`` and ``shift``.
        """
        samples, mask = region_pixels(image, partition.labels, partition.offsets, partition.bbox, self.patch_size, shift)
        device = image.device.type
        if torch.is_autocast_enabled(device):  # the embedding's matrix product would round the rows; mixing them then is cheaper now
            samples, mask = (x.to(torch.get_autocast_dtype(device)) for x in (samples, mask))
        replaced = (1 - mask) * torch.sigmoid(-self.mix_logit).to(mask.dtype)
        return torch.lerp(samples, self.mask_token.to(mask.dtype).expand_as(samples), replaced).flatten(1)
