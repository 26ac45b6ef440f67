"""Superpixel quality of partitions: plain functions on label maps ``[H, W]``, and a metric of mmengine."""

from .boundary import boundary_precision, boundary_recall
from .color import explained_variation, psnr, reconstruct, reconstruction_psnr
from .overlap import achievable_accuracy, best_overlap_agreement, majority_confusion, mean_iou, undersegmentation_error
from .partition_metric import PartitionMetric
from .scores import mean_scores, partition_scores
from .shape import compactness, num_regions

__all__ = [
    'PartitionMetric', 'achievable_accuracy', 'best_overlap_agreement', 'boundary_precision', 'boundary_recall', 'compactness',
    'explained_variation', 'majority_confusion', 'mean_iou', 'mean_scores', 'num_regions', 'partition_scores', 'psnr', 'reconstruct',
    'reconstruction_psnr', 'undersegmentation_error'
]
