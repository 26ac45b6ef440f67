"""Pictures of partitions: plain functions on uint8 RGB images ``[H, W, 3]`` and label maps ``[H, W]``.

The classes for mmengine's runner are in ``hook`` and ``region_visualizer``, which are imported when a config asks for them.
"""

from dht_mm.vector.files import atomic_file

from .attention import RegionAttention, region_attention
from .borders import border_mask, draw_borders
from .files import read_image, save_png
from .histogram import count_histogram
from .label_colors import label_palette, paint_labels, paint_regions
from .legends import with_color_bar, with_legend
from .levels import level_labels, num_levels, selected_levels
from .mean_color import paint_mean_color
from .overviews import draw_heads, draw_levels, draw_regions, draw_tokens, paint_selected_levels
from .panels import panel_grid, panel_strip, stack_strips, upscale
from .tokens import BlockPass, observe_block, principal_colors
from .values import paint_colors, paint_values, value_colors

__all__ = [
    'BlockPass', 'RegionAttention', 'atomic_file', 'border_mask', 'count_histogram', 'draw_borders', 'draw_heads', 'draw_levels',
    'draw_regions', 'draw_tokens', 'label_palette', 'level_labels', 'num_levels', 'observe_block', 'paint_colors', 'paint_labels',
    'paint_mean_color', 'paint_regions', 'paint_selected_levels', 'paint_values', 'panel_grid', 'panel_strip', 'principal_colors',
    'read_image', 'region_attention', 'save_png', 'selected_levels', 'stack_strips', 'upscale', 'value_colors', 'with_color_bar',
    'with_legend'
]
