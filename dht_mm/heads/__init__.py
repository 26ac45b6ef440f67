"""Tokens to classes. The head for mmsegmentation is here, and registered, where that is installed."""

from importlib.util import find_spec

from .knn_classifier import KNNClassifier

__all__ = ['KNNClassifier']

# Asking for the package instead of catching ImportError keeps a broken installation of it visible.
if find_spec('mmseg') is not None:
    from .token_head import TokenHead  # noqa: F401

    __all__ += ['TokenHead']
