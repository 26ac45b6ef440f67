"""One transformer block and its parts."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from .attention import Attention
from .layout import TokenLayout
from .swiglu import SwiGLU


class LayerScale(nn.Module):
    """Multiply each dimension by a learned factor (Touvron et al., 2021, Going deeper with image transformers).

    Args:
        embed_dims: Dimensions of a token.
        init_value: Initial factor.
    """

    def __init__(self, embed_dims: int, init_value: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((embed_dims,), float(init_value)))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, D]`` to ``[N, D]``."""
        return x * self.gamma


class DropPath(nn.Module):
    """Leave out a residual branch for random images in training (Huang et al., 2016, Deep networks with stochastic depth).

    All tokens of an image are kept, and scaled so that the expectation stays, or all are dropped.

    Args:
        rate: Probability that an image is dropped, in [0, 1).

    Raises:
        ValueError: ``rate`` is out of its range.
    """

    def __init__(self, rate: float):
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f'drop_path_rate must be in [0, 1), got {rate!r}')
        self.rate = rate

    def forward(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """``[N, D]`` to ``[N, D]``."""
        if not self.training or self.rate == 0:
            return x
        keep = x.new_empty(len(layout), 1).bernoulli_(1 - self.rate) / (1 - self.rate)
        return x * keep[layout.image]


class Block(nn.Module):
    """Attention and an MLP, each on normalised tokens, scaled and added to them.

    Args:
        embed_dims: Dimensions of a token, D.
        num_heads: Attention heads.
        feedforward_channels: Hidden dimensions of the MLP.
        drop_path_rate: Probability that an image skips the attention, and that it skips the MLP.
        layer_scale_init_value: Initial value of :class:`LayerScale`; 0 for none.
        norm_eps: Epsilon of the norms.
        qkv_bias: See :class:`Attention`.
        qk_norm: See :class:`Attention`.
        ffn_type: ``'mlp'``, two linear maps with a GELU between them, or ``'swiglu'``, see :class:`SwiGLU`.

    Raises:
        ValueError: ``ffn_type`` is another.
    """

    def __init__(self, embed_dims: int, num_heads: int, feedforward_channels: int, drop_path_rate: float = 0.0,
                 layer_scale_init_value: float = 0.1, norm_eps: float = 1e-6, qkv_bias: bool = True, qk_norm: bool = False,
                 ffn_type: str = 'mlp'):
        super().__init__()
        if ffn_type not in ('mlp', 'swiglu'):
            raise ValueError(f"ffn_type must be 'mlp' or 'swiglu', got {ffn_type!r}")
        self.norm1 = nn.LayerNorm(embed_dims, norm_eps)
        self.attn = Attention(embed_dims, num_heads, qkv_bias, qk_norm, norm_eps)
        self.ls1 = LayerScale(embed_dims, layer_scale_init_value) if layer_scale_init_value else nn.Identity()
        self.norm2 = nn.LayerNorm(embed_dims, norm_eps)
        self.mlp = SwiGLU(embed_dims, feedforward_channels) if ffn_type == 'swiglu' else nn.Sequential(OrderedDict(
            fc1=nn.Linear(embed_dims, feedforward_channels), act=nn.GELU(), fc2=nn.Linear(feedforward_channels, embed_dims)))
        self.ls2 = LayerScale(embed_dims, layer_scale_init_value) if layer_scale_init_value else nn.Identity()
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """``[N, D]`` to ``[N, D]``."""
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x), layout)), layout)
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))), layout)
