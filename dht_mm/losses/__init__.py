"""Losses of regions and images. The registered classes are built by a head's config; the functions below them are plain torch."""

from .focal import RegionFocalLoss, focal_scale, soft_focal
from .image_bce import ImageBCELoss, image_targets
from .ranks import mean_over_ranks
from .reconstruction import ReconstructionLoss, reconstruction_loss
from .region_cross_entropy import RegionCrossEntropyLoss
from .region_targets import region_targets

__all__ = [
    'ImageBCELoss', 'ReconstructionLoss', 'RegionCrossEntropyLoss', 'RegionFocalLoss', 'focal_scale', 'image_targets',
    'mean_over_ranks', 'reconstruction_loss', 'region_targets', 'soft_focal',
]
