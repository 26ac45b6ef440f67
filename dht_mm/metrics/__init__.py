"""Scores of partitions and segmentations: plain functions on label maps ``[H, W]``, and metrics for the toolkits' evaluators."""

from .boundary import boundary_precision, boundary_recall
from .class_overlap import ClassOverlap, class_overlap
from .color import explained_variation, psnr, reconstruct, reconstruction_psnr
from .overlap import achievable_accuracy, best_overlap_agreement, majority_confusion, mean_iou, undersegmentation_error
from .partition_metric import PartitionMetric
from .region_oracle import region_majority
from .saliency import SaliencyScores, max_f_measure, saliency_scores
from .saliency_metric import SaliencyMetric
from .scores import mean_scores, partition_scores
from .segmentation_boundary import boundary_overlap, label_band, trimap_overlap
from .segmentation_metrics import BoundaryIoU, RegionOracle, TrimapIoU
from .shape import compactness, num_regions

__all__ = [
    'BoundaryIoU', 'ClassOverlap', 'PartitionMetric', 'RegionOracle', 'SaliencyMetric', 'SaliencyScores', 'TrimapIoU',
    'achievable_accuracy', 'best_overlap_agreement', 'boundary_overlap', 'boundary_precision', 'boundary_recall', 'class_overlap',
    'compactness', 'explained_variation', 'label_band', 'majority_confusion', 'max_f_measure', 'mean_iou', 'mean_scores', 'num_regions',
    'partition_scores', 'psnr', 'reconstruct', 'reconstruction_psnr', 'region_majority', 'saliency_scores', 'trimap_overlap',
    'undersegmentation_error'
]
