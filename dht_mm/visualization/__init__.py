"""Pictures of partitions: plain functions on uint8 RGB images ``[H, W, 3]`` and label maps ``[H, W]``."""

from dht_mm.vector.files import atomic_file

from .borders import border_mask, draw_borders
from .files import read_image, save_png
from .label_colors import label_palette, paint_labels, paint_regions
from .mean_color import paint_mean_color
from .panels import panel_strip, stack_strips, upscale

__all__ = [
    'atomic_file', 'border_mask', 'draw_borders', 'label_palette', 'paint_labels', 'paint_mean_color', 'paint_regions',
    'panel_strip', 'read_image', 'save_png', 'stack_strips', 'upscale'
]
