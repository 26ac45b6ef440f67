"""A segmentor whose predictions keep the borders of regions at any size, and that can tell the regions."""

from collections.abc import Iterator

import torch
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from mmseg.utils import SampleList
from torch import Tensor

from dht_mm.registry import MODELS
from dht_mm.structures import Partition, RegionTokens

from .original_view import original_view
from .slide import slide_bands


@MODELS.register_module()
class RegionSegmentor(EncoderDecoder):
    """mmsegmentation's ``EncoderDecoder``, but logits go to the original size by the nearest pixel instead of bilinearly.

    Regions that carry one logit each keep it, and a pixel at a border is not mixed from two regions. In whole mode each data
    sample also gets ``pred_regions``, the region of each pixel in the original image, where the features know their partition
    (:class:`RegionTokens` and :class:`RegionMaps` do). In slide mode each crop has regions of its own and there is no such map.
    All arguments are those of ``EncoderDecoder``. ``seg_logits=False`` in ``test_cfg`` leaves ``seg_logits`` out of the samples:
    the classes are the same, and no map of logits of the whole image is made for slide mode, nor for a head that classifies
    tokens. Test-time augmentation wants the logits.
    """

    def predict(self, inputs: Tensor, data_samples: SampleList | None = None) -> SampleList:
        """Predictions of a batch.

        Args:
            inputs: ``[B, C, H, W]`` float, normalised.
            data_samples: One an image; None for images that were neither padded, flipped nor resized.

        Returns:
            The samples with ``pred_sem_seg``, ``seg_logits`` unless these are not wanted and, in whole mode, ``pred_regions``
            (``[1, H, W]`` int64).
        """
        shape = tuple(inputs.shape[2:])
        data_samples = data_samples or [
            SegDataSample(metainfo=dict(ori_shape=shape, img_shape=shape, pad_shape=shape)) for _ in inputs]
        metas = [sample.metainfo for sample in data_samples]
        wants_logits = self.test_cfg.get('seg_logits', True)
        if self.test_cfg.get('mode', 'whole') != 'whole':
            if wants_logits:
                return self.postprocess_result(self.inference(inputs, metas), data_samples)
            bands = [self._classes(band) for _, band in self._slide(inputs, metas)]
            return set_classes(data_samples, torch.cat(bands, 2))
        features = self.extract_feat(inputs)
        partition = getattr(features, 'partition', None)
        if partition is not None:
            set_regions(data_samples, partition)
        if wants_logits:
            return self.postprocess_result(self.decode_head.predict(features, metas, self.test_cfg), data_samples)
        return set_classes(data_samples, self._whole_classes(features, metas))

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """The logits of ``EncoderDecoder``'s, ``[B, K, H, W]``, with memory for one such map and a row of windows."""
        logits = inputs.new_empty(len(inputs), self.out_channels, *inputs.shape[2:])
        for top, band in self._slide(inputs, batch_img_metas):
            logits[:, :, top:top + band.shape[2]] = band
        return logits

    def postprocess_result(self, seg_logits: Tensor, data_samples: SampleList) -> SampleList:
        """Logits ``[B, K, H, W]`` of the input as logits and classes of the original images; see :func:`original_view`."""
        for logits, sample in zip(seg_logits, data_samples, strict=True):
            logits = original_view(logits, sample.metainfo)
            classes = self._classes(logits[None])[0]
            logits = logits.sigmoid() if len(logits) == 1 else logits
            sample.set_data(dict(seg_logits=PixelData(data=logits), pred_sem_seg=PixelData(data=classes)))
        return data_samples

    def _slide(self, inputs: Tensor, metas: list[dict]) -> Iterator[tuple[int, Tensor]]:
        def encode(window: Tensor) -> Tensor:
            return self.encode_decode(window, [meta | dict(img_shape=window.shape[2:]) for meta in metas])

        return slide_bands(encode, inputs, self.out_channels, self.test_cfg.crop_size, self.test_cfg.stride)

    def _whole_classes(self, features: RegionTokens | tuple[Tensor, ...], metas: list[dict]) -> Tensor:
        """Classes ``[B, 1, H, W]`` of the input; those of tokens without a map of logits."""
        if isinstance(features, RegionTokens) and hasattr(self.decode_head, 'pixelwise'):
            return self.decode_head.pixelwise(features, self._classes)
        return self._classes(self.decode_head.predict(features, metas, self.test_cfg))

    def _classes(self, logits: Tensor) -> Tensor:
        """The class of each of ``[N, K, ...]`` logits, ``[N, 1, ...]``; 0 or 1 as a float where K is 1."""
        if logits.shape[1] == 1:
            return (logits.sigmoid() > self.decode_head.threshold).to(logits)
        return logits.argmax(1, keepdim=True)


def set_classes(data_samples: SampleList, classes: Tensor) -> SampleList:
    """Put classes ``[B, 1, H, W]`` of the input into ``pred_sem_seg`` of the samples, in the view of the original images."""
    for one, sample in zip(classes, data_samples, strict=True):
        # Resizing wants floats; float32 holds every class exactly.
        sample.set_data(dict(pred_sem_seg=PixelData(data=original_view(one.float(), sample.metainfo).to(classes.dtype))))
    return data_samples


def set_regions(data_samples: SampleList, partition: Partition) -> None:
    """Put the region of each pixel of the original image into ``pred_regions`` of its sample."""
    for labels, sample in zip(partition.labels, data_samples, strict=True):
        # Resizing wants floats; float64 holds every label exactly.
        regions = original_view(labels[None].double(), sample.metainfo).to(torch.int64)
        sample.set_data(dict(pred_regions=PixelData(data=regions)))
