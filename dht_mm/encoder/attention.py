"""Multi-head self-attention: each token attends to the tokens of its own image."""

from torch import Tensor, nn

from .packing import PackedAttention, PaddedAttention
from .scaling import scaled_linear


class Attention(nn.Module):
    """Multi-head self-attention with one linear map for queries, keys and values, in this order.

    Args:
        embed_dims: Dimensions of a token, D.
        num_heads: Heads; divides ``embed_dims``.
        qkv_bias: Whether that map has a bias.
        qk_norm: Whether to normalise the queries and the keys of each head, each with a norm of its own.
        norm_eps: Epsilon of these norms.

    Attributes:
        head_dims: Dimensions of a head.

    Raises:
        ValueError: ``num_heads`` does not divide ``embed_dims``.
    """

    def __init__(self, embed_dims: int, num_heads: int, qkv_bias: bool = True, qk_norm: bool = False, norm_eps: float = 1e-6):
        super().__init__()
        if num_heads < 1 or embed_dims % num_heads:
            raise ValueError(f'num_heads must divide embed_dims={embed_dims}, got {num_heads}')
        self.num_heads = num_heads
        self.head_dims = embed_dims // num_heads
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=qkv_bias)
        self.q_norm = nn.LayerNorm(self.head_dims, norm_eps) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(self.head_dims, norm_eps) if qk_norm else nn.Identity()
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, attention: PackedAttention | PaddedAttention, scale: nn.Module, rows: Tensor | None = None) -> Tensor:
        """``[N, D]`` to ``[N, D]``, or to those ``rows`` of it alone, with ``scale`` (``[N, D]`` to ``[N, D]``) at the end."""
        q, k, v = self.qkv(x).view(x.shape[0], 3, self.num_heads, self.head_dims).unbind(1)
        q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)  # autocast makes norms return float32
        out = attention.attend(q, k, v).flatten(1)
        return scaled_linear(self.proj, out if rows is None else out.index_select(0, rows), scale)
