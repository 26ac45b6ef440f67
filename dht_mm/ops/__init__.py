"""Operators on images and regions: public functions with checks, over exchangeable implementations.

Everything that decides about regions is computed in integers or in float64 with a fixed order of single operations.
"""

from .backend import backend_info, use_backend
from .cut_regions import cut_regions
from .decode_pixels import decode_pixels
from .exact_linear import exact_linear
from .finer_cut import finer_cut
from .fixed_hierarchy import build_fixed_hierarchy
from .flops import register_flops
from .gradient_histogram import gradient_histogram
from .hard_merge import hard_merge
from .hierarchy import Hierarchy, build_hierarchy, check_options, tree_mean
from .moments import channel_moments, linear_statistics, patch_moments
from .pool_cells import pool_cells
from .position_histogram import position_histogram
from .projection import coarse_features, fold_norm, pixel_features, project
from .reference.decode_pixels import PixelScene
from .reference.exact_math import sigmoid as exact_sigmoid
from .reference.exact_math import sqrt as exact_sqrt
from .reference.projection import extend_to_multiple_of_4
from .region_mean import region_mean
from .region_pixels import region_pixels
from .soft_merge import soft_merge
from .surroundings import surroundings
from .unite_regions import unite_regions, united_mean

__all__ = [
    'Hierarchy', 'PixelScene', 'backend_info', 'build_fixed_hierarchy', 'build_hierarchy', 'channel_moments', 'check_options',
    'coarse_features', 'cut_regions', 'decode_pixels', 'exact_linear', 'exact_sigmoid', 'exact_sqrt', 'extend_to_multiple_of_4',
    'finer_cut', 'fold_norm', 'gradient_histogram', 'hard_merge', 'linear_statistics', 'patch_moments', 'pixel_features', 'pool_cells',
    'position_histogram', 'project', 'region_mean', 'region_pixels', 'soft_merge', 'surroundings', 'tree_mean', 'unite_regions',
    'united_mean', 'use_backend'
]

register_flops()
