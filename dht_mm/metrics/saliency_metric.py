"""Saliency scores for the toolkits' evaluators."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric

from dht_mm.registry import METRICS

from .saliency import SaliencyScores, max_f_measure, saliency_scores


@METRICS.register_module()
class SaliencyMetric(BaseMetric):
    """``saliency/max_f``, ``saliency/iou`` and ``saliency/accuracy`` in per cent, as ECSSD, DUTS and DUT-OMRON are scored.

    Precision and recall are averaged over images at each of 256 thresholds before the largest F-measure (β² = 0.3) is taken; IoU and
    accuracy are those of the predicted mask, averaged over images. A sample has ``pred_saliency`` (float in [0, 1]),
    ``pred_sem_seg`` and ``gt_sem_seg`` (1 for the object, 0 for the rest), each with ``data`` of ``[1, H, W]``.
    """

    default_prefix = 'saliency'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Score a batch."""
        for sample in data_samples:
            saliency, mask, truth = (sample[name]['data'] for name in ('pred_saliency', 'pred_sem_seg', 'gt_sem_seg'))
            self.results.append(saliency_scores(saliency, mask == 1, truth.to(mask.device) == 1))

    def compute_metrics(self, results: list[SaliencyScores]) -> dict[str, float]:
        """The means over all images."""
        precision, recall, iou, accuracy = zip(*results, strict=True)
        curves = (torch.stack(curve).mean(0) for curve in (precision, recall))
        return dict(max_f=100 * max_f_measure(*curves), iou=100 * sum(iou) / len(iou), accuracy=100 * sum(accuracy) / len(accuracy))
