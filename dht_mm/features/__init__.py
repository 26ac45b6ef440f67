"""Regions of images to rows of numbers."""

from .form import FormFeatures
from .gradient import GradientFeatures, arcsinh_curve, scharr_gradient
from .pixels import PixelFeatures
from .position import PositionFeatures
from .region_features import RegionFeatures
from .windows import Windows, find_windows

__all__ = ['FormFeatures', 'GradientFeatures', 'PixelFeatures', 'PositionFeatures', 'RegionFeatures', 'Windows', 'arcsinh_curve',
           'find_windows', 'scharr_gradient']
