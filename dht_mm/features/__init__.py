"""Regions of images to rows of numbers."""

from .gradient import GradientFeatures, arcsinh_curve, scharr_gradient
from .pixels import PixelFeatures
from .position import PositionFeatures
from .region_features import RegionFeatures

__all__ = ['GradientFeatures', 'PixelFeatures', 'PositionFeatures', 'RegionFeatures', 'arcsinh_curve', 'scharr_gradient']
