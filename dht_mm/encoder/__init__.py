"""Tokens to tokens. Packed sequences in and out; knows nothing of images and regions."""

from .attention import Attention, packed_attention
from .block import Block, DropPath, LayerScale
from .encoder import Encoder
from .layout import TokenLayout
from .swiglu import SwiGLU

__all__ = ['Attention', 'Block', 'DropPath', 'Encoder', 'LayerScale', 'SwiGLU', 'TokenLayout', 'packed_attention']
