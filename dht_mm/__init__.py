"""dht_mm: differentiable hierarchical visual tokenization for OpenMMLab.

Importing the package is cheap; the rooms (tokenizer, backbones, heads, ...) are imported by the registries when a config names
``type='dht_mm.…'``, or by the user.
"""

from .version import __version__

__all__ = ['__version__']
