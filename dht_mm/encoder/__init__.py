"""Tokens to tokens. Packed sequences in and out; knows nothing of images and regions."""

from .attention import Attention
from .block import Block, DropPath
from .encoder import Encoder
from .flops import register_flops
from .half_weights import half_weights
from .layout import TokenLayout
from .mlp import MLP
from .packing import PackedAttention, PaddedAttention
from .scaling import LayerScale
from .swiglu import SwiGLU

__all__ = [
    'MLP', 'Attention', 'Block', 'DropPath', 'Encoder', 'LayerScale', 'PackedAttention', 'PaddedAttention', 'SwiGLU', 'TokenLayout',
    'half_weights'
]

register_flops()
