"""One transformer block and its parts."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from .attention import Attention
from .layout import TokenLayout
from .mlp import MLP
from .packing import PackedAttention, PaddedAttention
from .scaling import LayerScale
from .swiglu import SwiGLU


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

    def forward(self, layout: TokenLayout, branches: int) -> Tensor | None:
        """What each branch is multiplied with, ``[branches, N, 1]`` float32; None where nothing is ever dropped."""
        if not self.training or self.rate == 0:
            return None
        keep = torch.empty(branches, len(layout), device=layout.offsets.device).bernoulli_(1 - self.rate) / (1 - self.rate)
        return keep[:, layout.image, None]


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
        ffn_type: ``'mlp'``, see :class:`MLP`, or ``'swiglu'``, see :class:`SwiGLU`.

    Attributes:
        compiled: Whether the block runs compiled; False until set. Blocks of the same form share their compiled code, whatever the
            number of tokens. Random draws, and what wraps a block to spread or recompute it, stay outside.

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
        self.mlp = (SwiGLU if ffn_type == 'swiglu' else MLP)(embed_dims, feedforward_channels)
        self.ls2 = LayerScale(embed_dims, layer_scale_init_value) if layer_scale_init_value else nn.Identity()
        self.drop_path = DropPath(drop_path_rate)
        self.compiled = False

    def forward(self, x: Tensor, layout: TokenLayout, rows: Tensor | None = None) -> Tensor:
        """``[N, D]`` to ``[N, D]``, or to those ``rows`` of it alone, ``[K]`` int64: what only the others need is not computed."""
        attention, keep = layout.attention(_compute_dtype(x), self.attn.head_dims), self.drop_path(layout, 2)
        keep = keep if keep is None or rows is None else keep[:, rows]
        return (_compiled_run() if self.compiled else _run)(self, x, attention, keep, rows)


def _compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype that matrix products of ``x`` are computed in here, which autocast may have set."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _run(block: Block, x: Tensor, attention: PackedAttention | PaddedAttention, keep: Tensor | None, rows: Tensor | None) -> Tensor:
    attended = block.attn(block.norm1(x), attention, block.ls1, rows)
    x = (x if rows is None else x.index_select(0, rows)) + _kept(attended, keep, 0)
    return x + _kept(block.mlp(block.norm2(x), block.ls2), keep, 1)


def _kept(branch: Tensor, keep: Tensor | None, index: int) -> Tensor:
    return branch if keep is None else branch * keep[index]


@cache
def _compiled_run() -> Callable:
    return torch.compile(_run, dynamic=True)
