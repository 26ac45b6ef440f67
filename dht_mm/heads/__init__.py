"""Tokens to classes. The heads for mmsegmentation are here, and registered, where that is installed."""

from importlib.util import find_spec

from .knn_classifier import KNNClassifier
from .pixel_decode import PixelDecode

__all__ = ['KNNClassifier', 'PixelDecode']

# Asking for the package instead of catching ImportError keeps a broken installation of it visible.
if find_spec('mmseg') is not None:
    from .region_refine_head import RegionRefineHead, average_over_regions  # noqa: F401
    from .token_head import TokenHead  # noqa: F401

    __all__ += ['RegionRefineHead', 'TokenHead', 'average_over_regions']
