"""Our weights in the published layout, for the published code to read."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .conversion import Conversion
from .published_encoder import LINEAR_HEADS, MLP_HEAD, block_keys
from .published_tokenizer import CURVE, KERNEL, SCHARR, tokenizer_keys

GROUPS = ('patch', 'pos', 'gradient')
OURS = 'dht_mm'


def export_tokenizer(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Undo :func:`convert_tokenizer`; the curve of the gradient features, which are none of ours, becomes the published 0.

    Args:
        state_dict: Weights of a ``DHTTokenizer``.

    Raises:
        ValueError: A key is missing or unknown.
    """
    conversion = Conversion(state_dict, OURS)
    for published, ours in tokenizer_keys():
        conversion.move(ours, published)
    conversion.fill(KERNEL, torch.tensor(SCHARR)[None, None], 'the Scharr kernel')
    conversion.fill(CURVE, torch.zeros(2, 1, 1), '0')
    return conversion.finish()


def export_encoder(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Undo :func:`convert_encoder`.

    Args:
        state_dict: Weights of a model with a ``DHTViT`` on a ``DHTTokenizer`` under ``backbone.``, with the head of a classifier,
            that of a segmenter or none.

    Raises:
        ValueError: A key is missing, or the published layout has no place for it: register tokens, SwiGLU, norms of queries and keys,
            no bias of queries, keys and values, other heads.
    """
    conversion = Conversion(state_dict, OURS)
    for published, ours in tokenizer_keys('tokenizer.', 'backbone.tokenizer.'):
        conversion.move(ours, published)
    conversion.fill(f'tokenizer.{KERNEL}', torch.tensor(SCHARR)[None, None], 'the Scharr kernel')
    _export_embedding(conversion)
    _export_blocks(conversion)
    linear = [('head', ours) for ours in LINEAR_HEADS.values() if f'{ours}.weight' in conversion]
    for published, ours in MLP_HEAD.items() if 'decode_head.mlp.fc1.weight' in conversion else linear:
        for leaf in ('weight', 'bias'):
            conversion.move(f'{ours}.{leaf}', f'{published}.{leaf}')
    return conversion.finish()


def _export_embedding(conversion: Conversion) -> None:
    conversion.move('backbone.features.pixels.mix_logit', 'extractor._mix')
    conversion.move('backbone.features.pixels.mask_token', 'extractor.pixel_mask_token')
    *groups, gradient = (f'backbone.embedding.{group}_embed.weight' for group in GROUPS)
    conversion.join([*groups, gradient] if gradient in conversion else groups, 'embedder.proj.weight')
    conversion.move('backbone.embedding.patch_embed.bias', 'embedder.proj.bias')
    conversion.move('backbone.embedding.cls_token', 'embedder.cls_token')
    if 'backbone.embedding.pre_norm.weight' in conversion:
        for leaf in ('weight', 'bias'):
            conversion.move(f'backbone.embedding.pre_norm.{leaf}', f'embedder.norm_pre.{leaf}')
    if 'backbone.features.gradient.curve' in conversion:
        conversion.move('backbone.features.gradient.curve', f'tokenizer.{CURVE}')
    else:
        conversion.fill(f'tokenizer.{CURVE}', torch.zeros(2, 1, 1), '0')


def _export_blocks(conversion: Conversion) -> None:
    blocks = {key.split('.')[3] for key in conversion.keys() if key.startswith('backbone.encoder.blocks.')}
    first, second = (conversion.read(f'backbone.encoder.blocks.0.mlp.{name}.weight') for name in ('fc1', 'fc2'))
    if len(first) != second.shape[1]:
        raise ValueError(f'the published layout has no SwiGLU, but backbone.encoder.blocks.0.mlp maps to {len(first)} and from '
                         f'{second.shape[1]} dimensions')
    for published, ours in block_keys(len(blocks), any(key.endswith('.gamma') for key in conversion.keys())):
        conversion.move(ours, published)
