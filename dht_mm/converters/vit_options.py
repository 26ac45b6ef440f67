"""Which model some converted weights are for."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .vit_stem import StemSizes

HEAD_DIMS = 64  # in the usual ViTs up to the large ones, and in DINOv2's giant


def vit_options(weights: Mapping[str, Tensor], stem: StemSizes) -> dict[str, Any]:
    """Options of the ``DHTViT`` that has these weights, but for its tokenizer.

    The number of heads shows in weights with query and key norms only; without, heads are taken to have 64 dimensions.

    Args:
        weights: The converted weights, by the backbone's own names.
        stem: Sizes that the weights do not show.
    """
    square = stem.pos_scale == math.sqrt(math.prod(stem.pos_grid))
    features = dict(pos_grid=stem.pos_grid) | ({} if square else dict(pos_scale=stem.pos_scale))
    if 'embedding.gradient_embed.weight' in weights:
        features['gradient'] = True
    options = dict(
        arch=_arch(weights), patch_size=stem.patch_size, in_channels=stem.in_channels, features=features,
        with_cls_token='embedding.cls_token' in weights, pre_norm='embedding.pre_norm.weight' in weights,
        num_register_tokens=len(weights.get('embedding.register_tokens', ())), final_norm='encoder.norm.weight' in weights,
        qkv_bias='encoder.blocks.0.attn.qkv.bias' in weights, qk_norm='encoder.blocks.0.attn.q_norm.weight' in weights,
        ffn_type='swiglu' if _is_gated(weights) else 'mlp')
    if 'avg_norm.weight' in weights or not options['with_cls_token']:
        options['out_type'] = 'avg_featmap' if 'avg_norm.weight' in weights else 'featmap'
    return options


def _arch(weights: Mapping[str, Tensor]) -> dict[str, int]:
    dims = len(weights['embedding.patch_embed.bias'])
    head_dims = len(weights.get('encoder.blocks.0.attn.q_norm.weight', range(HEAD_DIMS)))
    hidden = weights['encoder.blocks.0.mlp.fc2.weight'].shape[1]
    if _is_gated(weights) and hidden % 8:
        raise ValueError(f'the hidden dimensions of a SwiGLU must be a multiple of 8, got {hidden}')
    return dict(
        embed_dims=dims, num_layers=sum(key.endswith('.norm1.weight') for key in weights), num_heads=max(dims // head_dims, 1),
        feedforward_channels=hidden * 3 // 2 if _is_gated(weights) else hidden)


def _is_gated(weights: Mapping[str, Tensor]) -> bool:
    """Whether the first map of an MLP makes gates and values."""
    first, second = (weights[f'encoder.blocks.0.mlp.{name}.weight'] for name in ('fc1', 'fc2'))
    return len(first) == 2 * second.shape[1]
