"""Rows of region features to a sequence of tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dht_mm.structures import Partition

from .sequence import join


class RegionEmbedding(nn.Module):
    """One linear map of all features, a class token in front of each image, and an optional norm (paper, region embedding).

    The map is kept as one weight a feature group: ``patch_embed`` is what the patch convolution is in a plain ViT, ``pos_embed``
    holds an embedding for each cell of the position grid, and recipes find both under the names they know.

    Args:
        dims: Row lengths of the groups: pixels, position and, if there is one, gradient.
        embed_dims: Dimensions of a token, D.
        with_cls_token: Whether images have a class token.
        pre_norm: Whether to normalise all tokens.
        norm_eps: Epsilon of that norm.

    Attributes:
        num_prefix: Tokens in front of each image's regions.
    """

    def __init__(self, dims: Sequence[int], embed_dims: int, with_cls_token: bool = True, pre_norm: bool = False,
                 norm_eps: float = 1e-6):
        super().__init__()
        pixels, position, *gradient = dims
        self.patch_embed = nn.Linear(pixels, embed_dims)
        self.pos_embed = nn.Linear(position, embed_dims, bias=False)
        self.gradient_embed = nn.Linear(gradient[0], embed_dims, bias=False) if gradient else None
        self.num_prefix = int(with_cls_token)
        self.cls_token = nn.Parameter(torch.randn(self.num_prefix, embed_dims) * 0.02) if with_cls_token else None
        self.pre_norm = nn.LayerNorm(embed_dims, norm_eps) if pre_norm else nn.Identity()
        for linear in filter(lambda module: isinstance(module, nn.Linear), self.children()):
            nn.init.trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(self.patch_embed.bias)

    def forward(self, rows: Sequence[Tensor], partition: Partition) -> Tensor:
        """Feature groups ``[R, dims]``, in the order of ``dims``, to the packed sequence of :func:`join`, ``[B P + R, D]``."""
        pixels, position, *gradient = rows
        tokens = self.patch_embed(pixels) + self.pos_embed(position)
        if gradient:
            tokens = tokens + self.gradient_embed(gradient[0])
        prefix = self.patch_embed.bias.new_empty(0, tokens.shape[1]) if self.cls_token is None else self.cls_token
        return self.pre_norm(join(prefix, tokens, partition))
