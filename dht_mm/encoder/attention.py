"""Self-attention over packed sequences: each token attends to the tokens of its own image."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layout import TokenLayout

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch < 2.10
    varlen_attn = None


def packed_attention(q: Tensor, k: Tensor, v: Tensor, layout: TokenLayout) -> Tensor:
    """Scaled dot-product attention within images, scale ``1 / sqrt(d)``.

    Half precision on a GPU runs on the packed tokens. Everything else is padded to the longest image, with the padding masked.

    Args:
        q: ``[N, heads, d]`` queries.
        k: Keys, likewise.
        v: Values, likewise.
        layout: Where the images lie.

    Returns:
        ``[N, heads, d]``.
    """
    if _runs_packed(q):
        return varlen_attn(q, k, v, layout.offsets, layout.offsets, layout.longest, layout.longest)
    q, k, v = (layout.pad(x).transpose(1, 2) for x in (q, k, v))  # [B, heads, L, d]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=layout.key_mask)
    return layout.unpad(out.transpose(1, 2))


def _runs_packed(q: Tensor) -> bool:
    """Whether torch has a kernel for packed sequences of this kind."""
    if varlen_attn is None or not q.is_cuda or q.dtype not in (torch.float16, torch.bfloat16):
        return False
    return q.shape[-1] % 8 == 0 and q.shape[-1] <= 256 and torch.cuda.get_device_capability(q.device) >= (8, 0)


class Attention(nn.Module):
    """Multi-head self-attention with one linear map for queries, keys and values, in this order.

    Args:
        embed_dims: Dimensions of a token, D.
        num_heads: Heads; divides ``embed_dims``.
        qkv_bias: Whether that map has a bias.
        qk_norm: Whether to normalise the queries and the keys of each head, each with a norm of its own.
        norm_eps: Epsilon of these norms.

    Raises:
        ValueError: ``num_heads`` does not divide ``embed_dims``.
    """

    def __init__(self, embed_dims: int, num_heads: int, qkv_bias: bool = True, qk_norm: bool = False, norm_eps: float = 1e-6):
        super().__init__()
        if num_heads < 1 or embed_dims % num_heads:
            raise ValueError(f'num_heads must divide embed_dims={embed_dims}, got {num_heads}')
        self.num_heads = num_heads
        head_dims = embed_dims // num_heads
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=qkv_bias)
        self.q_norm = nn.LayerNorm(head_dims, norm_eps) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(head_dims, norm_eps) if qk_norm else nn.Identity()
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, layout: TokenLayout) -> Tensor:
        """``[N, D]`` to ``[N, D]``."""
        q, k, v = self.qkv(x).view(len(x), 3, self.num_heads, -1).unbind(1)
        q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)  # autocast makes norms return float32
        return self.proj(packed_attention(q, k, v, layout).flatten(1))
