"""A plain ViT from the papers, written for the tests: reads weights in the layout of DINOv2, timm and DeiT III."""

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


def plain_vit(weights: Weights, images: Tensor, num_heads: int, positions: Tensor | None = None) -> Tensor:
    """``[B, 1 + N, D]`` tokens of ``[B, 3, H, W]`` images, after the final norm; LayerScale if the weights have it.

    Args:
        weights: State dict.
        images: Normalised.
        num_heads: Attention heads.
        positions: ``[1, 1 + N, D]`` in place of ``pos_embed``, for another number of patches.
    """
    positions = weights['pos_embed'] if positions is None else positions
    patches = F.conv2d(images, weights['patch_embed.proj.weight'], weights['patch_embed.proj.bias'],
                       stride=weights['patch_embed.proj.weight'].shape[-1])
    x = torch.cat([weights['cls_token'].expand(len(images), -1, -1), patches.flatten(2).mT], 1) + positions
    depth = len({key.split('.')[1] for key in weights if key.startswith('blocks.')})
    for block in (f'blocks.{number}.' for number in range(depth)):
        own = {key.removeprefix(block): value for key, value in weights.items() if key.startswith(block)}
        x = x + own.get('ls1.gamma', 1) * _attention(own, _norm(own, 'norm1.', x), num_heads)
        x = x + own.get('ls2.gamma', 1) * _linear(own, 'mlp.fc2.', F.gelu(_linear(own, 'mlp.fc1.', _norm(own, 'norm2.', x))))
    return _norm(weights, 'norm.', x)


def _attention(weights: Weights, x: Tensor, num_heads: int) -> Tensor:
    q, k, v = _linear(weights, 'attn.qkv.', x).unflatten(2, (3, num_heads, -1)).permute(2, 0, 3, 1, 4)
    shares = (q @ k.mT / q.shape[-1]**0.5).softmax(-1)
    return _linear(weights, 'attn.proj.', (shares @ v).transpose(1, 2).flatten(2))


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f'{name}weight'].T + weights[f'{name}bias']


def _norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weights[f'{name}weight'] + weights[f'{name}bias']
