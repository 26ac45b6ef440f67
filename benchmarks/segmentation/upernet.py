"""The decoder network that the decodes without one are measured against."""

from mmseg.models.decode_heads import UPerHead
from torch import Tensor, nn

from dht_mm.necks import TokenToPixel
from dht_mm.structures import Partition, RegionTokens

STRIDES = (4, 8, 16, 32)


class UPerNet(nn.Module):
    """mmsegmentation's UPerHead on maps of the tokens of four blocks.

    Args:
        dims: Dimensions of the tokens of all four together.
        num_classes: Classes.
        channels: Of the head; 512 in mmsegmentation's configs of UPerNet.
    """

    def __init__(self, dims: int, num_classes: int, channels: int = 512):
        super().__init__()
        levels = len(STRIDES)
        self.neck = TokenToPixel(dims // levels, STRIDES)
        self.head = UPerHead(in_channels=[dims // levels] * levels, in_index=list(range(levels)), pool_scales=(1, 2, 3, 6),
                             channels=channels, dropout_ratio=0.1, num_classes=num_classes, norm_cfg=dict(type='BN'), align_corners=False)
        self.head.init_weights()

    def forward(self, tokens: Tensor, partition: Partition) -> Tensor:
        """``[R, D]`` to ``[B, K, ceil(H / 4), ceil(W / 4)]``."""
        return self.head(self.neck(RegionTokens(tokens.chunk(len(STRIDES), -1), (), partition)))
