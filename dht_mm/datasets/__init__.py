"""Data sets and transforms that mmsegmentation lacks; here, and registered, where that is installed."""

from importlib.util import find_spec

__all__ = []

if find_spec('mmseg') is not None:
    from .camvid import CamVidDataset  # noqa: F401
    from .random_resized_crop import RandomResizedCrop  # noqa: F401

    __all__ += ['CamVidDataset', 'RandomResizedCrop']
