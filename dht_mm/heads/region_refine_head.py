"""The borders of regions for a decode head that knows only feature maps."""

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS as MMSEG_MODELS
from mmseg.utils import SampleList
from torch import Tensor

from dht_mm.ops import region_mean
from dht_mm.registry import MODELS
from dht_mm.structures import Partition, RegionMaps


def average_over_regions(logits: Tensor, partition: Partition, align_corners: bool = False) -> Tensor:
    """Give every pixel the mean logits of its region.

    Args:
        logits: ``[B, K, h, w]`` float, of any size; resized bilinearly to that of the partition.
        partition: Regions of the B images of ``H`` by ``W`` pixels.
        align_corners: How the resize maps corners, as in :func:`torch.nn.functional.interpolate`.

    Returns:
        ``[B, K, H, W]``, constant on each region.

    Raises:
        ValueError: ``logits`` are of another number of images.
    """
    size = tuple(partition.labels.shape[1:])
    if tuple(logits.shape[2:]) != size:
        logits = F.interpolate(logits, size, mode='bilinear', align_corners=align_corners)
    return partition.scatter(region_mean(logits, partition.labels, partition.offsets, partition.size))


@MODELS.register_module()
class RegionRefineHead(BaseModule):
    """A decode head of mmsegmentation whose logits are averaged over the regions, in training and in prediction.

    The wrapped head sees the feature maps as ever; its losses see logits that are constant on each region, at the size of the
    backbone's input.

    Args:
        decode_head: Config of a head that gives one map of logits and takes no other head's output: any but those of cascades,
            and those that predict masks.
        init_cfg: Initialisation of mmengine.
    """

    def __init__(self, decode_head: dict, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.head = MMSEG_MODELS.build(decode_head)
        # What segmentors read of a decode head.
        self.num_classes, self.out_channels = self.head.num_classes, self.head.out_channels
        self.align_corners, self.threshold = self.head.align_corners, self.head.threshold

    def forward(self, inputs: RegionMaps) -> Tensor:
        """Logits ``[B, K, H, W]`` at the size of the backbone's input, constant on each region.

        Raises:
            TypeError: ``inputs`` come without a partition, or the wrapped head gives no map of logits.
        """
        if not isinstance(inputs, RegionMaps):
            raise TypeError(f'inputs must be RegionMaps, which the neck TokenToPixel gives, got {type(inputs).__name__}')
        logits = self.head(inputs)
        if not isinstance(logits, Tensor):
            raise TypeError(f'decode_head must give one map of logits, but {type(self.head).__name__} gives {type(logits).__name__}')
        return average_over_regions(logits, inputs.partition, self.align_corners)

    def loss(self, inputs: RegionMaps, batch_data_samples: SampleList, train_cfg: dict | None = None) -> dict[str, Tensor]:
        """The wrapped head's losses of the averaged logits."""
        return self.head.loss_by_feat(self(inputs), batch_data_samples)

    def predict(self, inputs: RegionMaps, batch_img_metas: list[dict], test_cfg: dict | None = None) -> Tensor:
        """The averaged logits as they are: they already have the size of the input."""
        return self(inputs)
