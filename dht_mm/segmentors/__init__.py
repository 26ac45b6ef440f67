"""Models of mmsegmentation that keep the regions up to the prediction; here, and registered, where that is installed."""

from importlib.util import find_spec

__all__ = []

if find_spec('mmseg') is not None:
    from .original_view import original_view  # noqa: F401
    from .region_segmentor import RegionSegmentor  # noqa: F401

    __all__ += ['RegionSegmentor', 'original_view']
