"""Metrics for mmsegmentation's evaluator: counts of each image in, means over the data set out."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from dht_mm.registry import METRICS

from .class_overlap import ClassOverlap, class_overlap
from .region_oracle import region_majority
from .segmentation_boundary import boundary_overlap, trimap_overlap


class OverlapMetric(BaseMetric):
    """Base of the metrics that add up :class:`ClassOverlap` over the images of a data set.

    Args:
        ignore_index: Label of pixels that do not count.
        **kwargs: ``collect_device``, ``prefix`` and ``collect_dir`` of mmengine's metrics.
    """

    def __init__(self, ignore_index: int = 255, **kwargs: str | None) -> None:
        super().__init__(**kwargs)
        self.ignore_index = ignore_index

    @abstractmethod
    def count(self, sample: dict, labels: Tensor, num_classes: int) -> object:
        """What one image adds to the results, on the CPU; ``labels`` are ``[1, H, W]``."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count a batch; samples have ``gt_sem_seg`` and what the metric reads of the predictions."""
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            labels = sample['gt_sem_seg']['data']
            self.results.append(self.count(sample, labels.reshape(1, *labels.shape[-2:]).long(), num_classes))


@METRICS.register_module()
class BoundaryIoU(OverlapMetric):
    """``boundary/mIoU``: the mean over classes of :func:`boundary_overlap` of all images, in per cent.

    Args:
        share: Width of the boundary as a share of the image's diagonal, rounded to whole pixels, at least 1.
        width: Width in pixels instead.
        ignore_index: Label of pixels that do not count.
        **kwargs: ``collect_device``, ``prefix`` and ``collect_dir`` of mmengine's metrics.

    Raises:
        ValueError: ``share`` is not in (0, 1], or ``width`` is not a positive integer.
    """

    default_prefix = 'boundary'

    def __init__(self, share: float = 0.02, width: int | None = None, ignore_index: int = 255, **kwargs: str | None) -> None:
        super().__init__(ignore_index, **kwargs)
        if not 0 < share <= 1:
            raise ValueError(f'share must be in (0, 1], got {share}')
        if width is not None and width < 1:
            raise ValueError(f'width must be a positive integer, got {width!r}')
        self.share, self.width = share, width

    def count(self, sample: dict, labels: Tensor, num_classes: int) -> ClassOverlap:
        """Boundary pixels of one image."""
        diagonal = (labels.shape[1] ** 2 + labels.shape[2] ** 2) ** 0.5
        width = self.width or max(1, round(self.share * diagonal))
        return to_cpu(boundary_overlap(predicted_classes(sample, labels), labels, num_classes, width, self.ignore_index))

    def compute_metrics(self, results: list[ClassOverlap]) -> dict[str, float]:
        """The score of all images."""
        return dict(mIoU=add_up(results).mean_iou())


@METRICS.register_module()
class TrimapIoU(OverlapMetric):
    """``trimap/mIoU_1``, ``_3`` and ``_5``: the mean over classes of :func:`trimap_overlap` of all images, in per cent.

    Args:
        widths: Pixels on either side of a border, one for each score.
        ignore_index: Label of pixels that do not count.
        **kwargs: ``collect_device``, ``prefix`` and ``collect_dir`` of mmengine's metrics.

    Raises:
        ValueError: A width is not a positive integer.
    """

    default_prefix = 'trimap'

    def __init__(self, widths: Sequence[int] = (1, 3, 5), ignore_index: int = 255, **kwargs: str | None) -> None:
        super().__init__(ignore_index, **kwargs)
        if not widths or min(widths) < 1:
            raise ValueError(f'widths must be positive integers, got {widths!r}')
        self.widths = tuple(widths)

    def count(self, sample: dict, labels: Tensor, num_classes: int) -> list[ClassOverlap]:
        """Pixels of one image in each band."""
        prediction = predicted_classes(sample, labels)
        return [to_cpu(trimap_overlap(prediction, labels, num_classes, width, self.ignore_index)) for width in self.widths]

    def compute_metrics(self, results: list[list[ClassOverlap]]) -> dict[str, float]:
        """The score of all images in each band."""
        bands = zip(self.widths, zip(*results, strict=True), strict=True)
        return {f'mIoU_{width}': add_up(overlaps).mean_iou() for width, overlaps in bands}


@METRICS.register_module()
class RegionOracle(OverlapMetric):
    """``regions/oracle_mIoU``, ``regions/oracle_aAcc`` (per cent) and ``regions/per_image``, from ``pred_regions`` of the samples.

    :class:`RegionSegmentor` gives them in whole mode. The prediction of the model is not read. Regions are counted as they are in
    the original image, without the padding.
    """

    default_prefix = 'regions'

    def count(self, sample: dict, labels: Tensor, num_classes: int) -> tuple[ClassOverlap, int]:
        """Pixels of one image and its number of regions."""
        if 'pred_regions' not in sample:
            raise ValueError("RegionOracle needs samples with 'pred_regions', which type='dht_mm.RegionSegmentor' gives in whole "
                             f'mode, got {sorted(sample)}')
        regions = sample['pred_regions']['data'].to(labels)
        best = region_majority(regions, labels, num_classes, self.ignore_index)
        known = labels != self.ignore_index
        return to_cpu(class_overlap(best[known], labels[known], num_classes)), len(regions.unique())

    def compute_metrics(self, results: list[tuple[ClassOverlap, int]]) -> dict[str, float]:
        """The scores of all images."""
        overlaps, numbers = zip(*results, strict=True)
        total = add_up(overlaps)
        return dict(oracle_mIoU=total.mean_iou(), oracle_aAcc=total.accuracy(), per_image=sum(numbers) / len(numbers))


def predicted_classes(sample: dict, labels: Tensor) -> Tensor:
    """``[1, H, W]`` int64: the classes that the model predicted, on the device of the labels."""
    data = sample['pred_sem_seg']['data']
    return data.reshape(1, *data.shape[-2:]).to(labels)


def to_cpu(overlap: ClassOverlap) -> ClassOverlap:
    """The counts on the CPU, where results are collected."""
    return ClassOverlap(*torch.stack(overlap).cpu())


def add_up(overlaps: Iterable[ClassOverlap]) -> ClassOverlap:
    """The counts of several images."""
    return ClassOverlap(*(torch.stack(field).sum(0) for field in zip(*overlaps, strict=True)))
