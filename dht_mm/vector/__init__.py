"""Partitions as vector graphics: plain numpy functions on uint8 RGB images ``[H, W, 3]`` and label maps ``[H, W]``."""

from .files import save_svg
from .merge import merge_regions
from .published import vectorize_published
from .vectorize import vectorize

__all__ = ['merge_regions', 'save_svg', 'vectorize', 'vectorize_published']
