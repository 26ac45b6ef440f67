"""Rows of region features to a sequence of tokens."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dht_mm.structures import Partition

from .sequence import join


class RegionEmbedding(nn.Module):
    """One linear map of all features, prefix tokens in front of each image, and an optional norm (paper, region embedding).

    The map is kept as one weight a feature group: ``patch_embed`` is what the patch convolution is in a plain ViT, ``pos_embed``
    holds an embedding for each cell of the position grid, and recipes find both under the names they know.

    Args:
        dims: Row lengths of the groups by their names: ``pixels``, ``position`` and possibly ``gradient`` and ``form``, in this order.
        embed_dims: Dimensions of a token, D.
        with_cls_token: Whether images have a class token, the first of the prefix.
        num_register_tokens: Further tokens of the prefix, for the attention to work with (Darcet et al., 2024, Vision transformers
            need registers).
        pre_norm: Whether to normalise all tokens.
        norm_eps: Epsilon of that norm.

    Attributes:
        num_prefix: Tokens in front of each image's regions.

    Raises:
        ValueError: ``num_register_tokens`` is negative.
    """

    def __init__(self, dims: Mapping[str, int], embed_dims: int, with_cls_token: bool = True,
                 num_register_tokens: int = 0, pre_norm: bool = False, norm_eps: float = 1e-6):
        super().__init__()
        if isinstance(num_register_tokens, bool) or not isinstance(num_register_tokens, int) or num_register_tokens < 0:
            raise ValueError(f'num_register_tokens must be an integer of at least 0, got {num_register_tokens!r}')
        self.patch_embed = nn.Linear(dims['pixels'], embed_dims)
        self.pos_embed = nn.Linear(dims['position'], embed_dims, bias=False)
        self.gradient_embed, self.form_embed = (
            nn.Linear(dims[name], embed_dims, bias=False) if name in dims else None for name in ('gradient', 'form'))
        self.num_prefix = bool(with_cls_token) + num_register_tokens
        self.cls_token = nn.Parameter(torch.randn(1, embed_dims) * 0.02) if with_cls_token else None
        registers = torch.randn(num_register_tokens, embed_dims) * 0.02
        self.register_tokens = nn.Parameter(registers) if num_register_tokens else None
        self.pre_norm = nn.LayerNorm(embed_dims, norm_eps) if pre_norm else nn.Identity()
        for module in self.children():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(self.patch_embed.bias)
        if self.form_embed is not None:
            nn.init.zeros_(self.form_embed.weight)  # beside pretrained weights, which do not know it, it has no say at first

    def forward(self, rows: Sequence[Tensor], partition: Partition) -> Tensor:
        """Feature groups ``[R, dims]``, in the order of ``dims``, to the packed sequence of :func:`join`, ``[B P + R, D]``."""
        return self.pre_norm(join(self.prefix_tokens(), self.region_tokens(rows), partition))

    def region_tokens(self, rows: Sequence[Tensor]) -> Tensor:
        """Feature groups ``[..., dims]`` to ``[..., D]``, before ``pre_norm``."""
        maps = [self.patch_embed, self.pos_embed, self.gradient_embed, self.form_embed]
        tokens = [embed(group) for embed, group in zip(filter(None, maps), rows, strict=True)]
        return sum(tokens[1:], tokens[0])

    def prefix_tokens(self) -> Tensor:
        """``[P, D]``: class token and register tokens."""
        no_prefix = self.patch_embed.bias.new_empty(0, self.patch_embed.out_features)
        return torch.cat([no_prefix, *(part for part in (self.cls_token, self.register_tokens) if part is not None)])
