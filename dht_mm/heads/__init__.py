"""Heads for mmsegmentation. Without mmsegmentation installed there is nothing here, and nothing is registered."""

from importlib.util import find_spec

# Asking for the package instead of catching ImportError keeps a broken installation of it visible.
if find_spec('mmseg') is not None:
    from .token_head import TokenHead

    __all__ = ['TokenHead']
