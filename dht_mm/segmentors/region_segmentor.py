"""A segmentor whose predictions keep the borders of regions at any size, and that can tell the regions."""

import torch
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList
from torch import Tensor

from dht_mm.registry import MODELS
from dht_mm.structures import Partition

from .original_view import original_view


@MODELS.register_module()
class RegionSegmentor(EncoderDecoder):
    """mmsegmentation's ``EncoderDecoder``, but logits go to the original size by the nearest pixel instead of bilinearly.

    Regions that carry one logit each keep it, and a pixel at a border is not mixed from two regions. In whole mode each data
    sample also gets ``pred_regions``, the region of each pixel in the original image, where the features know their partition
    (:class:`RegionTokens` and :class:`RegionMaps` do). In slide mode each crop has regions of its own and there is no such map.
    All arguments are those of ``EncoderDecoder``.
    """

    def predict(self, inputs: Tensor, data_samples: SampleList | None = None) -> SampleList:
        """Predictions of a batch.

        Args:
            inputs: ``[B, C, H, W]`` float, normalised.
            data_samples: One an image; None for images that were neither padded, flipped nor resized.

        Returns:
            The samples with ``seg_logits``, ``pred_sem_seg`` and, in whole mode, ``pred_regions`` (``[1, H, W]`` int64).
        """
        shape = tuple(inputs.shape[2:])
        data_samples = data_samples or [
            SegDataSample(metainfo=dict(ori_shape=shape, img_shape=shape, pad_shape=shape)) for _ in inputs]
        metas = [sample.metainfo for sample in data_samples]
        if self.test_cfg.get('mode', 'whole') != 'whole':
            return self.postprocess_result(self.inference(inputs, metas), data_samples)
        features = self.extract_feat(inputs)
        partition = getattr(features, 'partition', None)
        if partition is not None:
            set_regions(data_samples, partition)
        return self.postprocess_result(self.decode_head.predict(features, metas, self.test_cfg), data_samples)

    def postprocess_result(self, seg_logits: Tensor, data_samples: SampleList) -> SampleList:
        """Logits ``[B, K, H, W]`` of the input as logits and classes of the original images; see :func:`original_view`."""
        for logits, sample in zip(seg_logits, data_samples, strict=True):
            logits = original_view(logits, sample.metainfo)
            if len(logits) == 1:
                logits = logits.sigmoid()
                classes = (logits > self.decode_head.threshold).to(logits)
            else:
                classes = logits.argmax(0, keepdim=True)
            sample.set_data(dict(seg_logits=PixelData(data=logits), pred_sem_seg=PixelData(data=classes)))
        return data_samples


def set_regions(data_samples: SampleList, partition: Partition) -> None:
    """Put the region of each pixel of the original image into ``pred_regions`` of its sample."""
    for labels, sample in zip(partition.labels, data_samples, strict=True):
        # Resizing wants floats; float64 holds every label exactly.
        regions = original_view(labels[None].double(), sample.metainfo).to(torch.int64)
        sample.set_data(dict(pred_regions=PixelData(data=regions)))
