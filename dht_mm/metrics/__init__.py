"""Scores of segmentations and partitions: plain functions on label maps, and metrics for mmsegmentation's evaluator."""

from .class_overlap import ClassOverlap, class_overlap
from .region_oracle import region_majority
from .segmentation_boundary import boundary_overlap, label_band, trimap_overlap
from .segmentation_metrics import BoundaryIoU, RegionOracle, TrimapIoU

__all__ = [
    'BoundaryIoU', 'ClassOverlap', 'RegionOracle', 'TrimapIoU', 'boundary_overlap', 'class_overlap', 'label_band', 'region_majority',
    'trimap_overlap',
]
