"""The scores of partitions in mmengine's evaluation loops."""

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

from dht_mm.registry import METRICS

from .scores import mean_scores, partition_scores


@METRICS.register_module()
class PartitionMetric(BaseMetric):
    """Superpixel quality of a tokenizer, as an evaluator of mmengine: ``val_evaluator=dict(type='dht_mm.PartitionMetric')``.

    Takes what :class:`TokenizerPretrainer` predicts. Each data sample has the regions in ``pred_regions`` and may have the annotation
    in ``gt_sem_seg``, ``[A, H, W]`` for A segmentations of the image; the batch holds the uint8 images in ``inputs``.
    The result has the means over images of :func:`partition_scores`; those of annotations over the images that have one.

    Args:
        tolerance: Of borders, in pixels.
        ignore_index: Label of pixels that annotations leave open.
        **kwargs: ``collect_device`` and alike, see mmengine's ``BaseMetric``.
    """

    default_prefix = 'partition'

    def __init__(self, tolerance: int = 1, ignore_index: int | None = 255, **kwargs: Any):
        super().__init__(**kwargs)
        self.tolerance, self.ignore_index = tolerance, ignore_index

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Score the images of a batch.

        Args:
            data_batch: As the data loader gives it: ``inputs`` holds a ``[C, H, W]`` uint8 tensor an image.
            data_samples: One dict an image, with ``pred_regions`` and maybe ``gt_sem_seg``, each a dict with ``data``.
        """
        for image, sample in zip(data_batch['inputs'], data_samples, strict=True):
            labels = sample['pred_regions']['data'][0]
            truths = sample['gt_sem_seg']['data'] if 'gt_sem_seg' in sample else None
            self.results.append(partition_scores(labels, image.movedim(0, -1), truths, self.tolerance, self.ignore_index))

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        """Means over the images of all processes; a score that no image has is left out."""
        return mean_scores(results)
