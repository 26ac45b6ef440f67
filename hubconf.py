"""Models for ``torch.hub``; needs mmengine, and neither mmpretrain nor mmsegmentation.

    torch.hub.load(CHECKOUT, 'dht_vit_small_16', source='local', pretrained='dht-vit-s_deit3-pre.pth')

``pretrained`` names a file: a checkpoint of a runner, of one of this project's converters, or a state dict. True would load published
weights: none are yet, and the error says how to make some. What a model is made for besides its weights (position grid, gradient
features) can be given as options of ``dht_mm.backbones.DHTViT``.
"""

import os
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dht_mm.backbones import DHTViT
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer, read_state_dict

dependencies = ['torch', 'mmengine']
Pretrained = bool | str | os.PathLike


def dht_tokenizer(pretrained: Pretrained = False, **options: Any) -> DHTTokenizer:
    """The differentiable hierarchical tokenizer: normalised images to partitions.

    Args:
        pretrained: File of weights of a tokenizer, or of a model that has one; False for random weights.
        **options: Of :class:`DHTTokenizer`.
    """
    tokenizer = DHTTokenizer(**options)
    if pretrained:
        load_tokenizer(tokenizer, _file(pretrained, 'dht_tokenizer', 'configs/dht/tokenizer/README.md'))
    return tokenizer.eval()


def dht_vit_small_16(pretrained: Pretrained = False, **options: Any) -> DHTViT:
    """dHT-ViT-S/16 without classifier: normalised images to a tuple with the class tokens ``[B, 384]``.

    Args:
        pretrained: File of weights; False for random ones.
        **options: Of :class:`DHTViT`.
    """
    return _vit('dht_vit_small_16', 'small', pretrained, options)


def dht_vit_base_16(pretrained: Pretrained = False, **options: Any) -> DHTViT:
    """dHT-ViT-B/16 without classifier, ``[B, 768]``; see :func:`dht_vit_small_16`."""
    return _vit('dht_vit_base_16', 'base', pretrained, options)


def dht_vit_large_16(pretrained: Pretrained = False, **options: Any) -> DHTViT:
    """dHT-ViT-L/16 without classifier, ``[B, 1024]``; see :func:`dht_vit_small_16`."""
    return _vit('dht_vit_large_16', 'large', pretrained, options)


class Classifier(nn.Sequential):
    """A backbone and a linear map of its class token: normalised images to logits ``[B, K]``."""

    def forward(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]`` float to ``[B, K]``."""
        return self.head(self.backbone(images)[-1])


def dht_vit_base_16_in1k(pretrained: Pretrained = False, **options: Any) -> Classifier:
    """dHT-ViT-B/16 with a classifier of ImageNet-1k's classes.

    Args:
        pretrained: File of weights of a model that mmpretrain trained, or of a converted ViT with its classifier; False for random
            ones.
        **options: Of :class:`DHTViT`; by default those of ``configs/dht/classification``.
    """
    name = 'dht_vit_base_16_in1k'
    defaults = dict(features=dict(pos_grid=24, gradient=True), tokenizer=dict(
        type='dht_mm.DHTTokenizer', token_budget=dict(mode='soft'), norm_eval=True))
    model = Classifier()
    model.backbone, model.head = DHTViT(arch='base', **defaults | options), nn.Linear(768, 1000)
    if pretrained:
        weights = read_state_dict(_file(pretrained, name, 'configs/dht/classification/README.md'))
        _load(model, {key.replace('head.fc.', 'head.'): value for key, value in weights.items()}, pretrained)
    return model.eval()


def _vit(name: str, arch: str, pretrained: Pretrained, options: dict[str, Any]) -> DHTViT:
    model = DHTViT(arch=arch, **options)
    if pretrained:
        weights = read_state_dict(_file(pretrained, name, 'docs/retrofit.md and configs/dht/classification/README.md'))
        prefix = 'backbone.' if any(key.startswith('backbone.') for key in weights) else ''
        _load(model, {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}, pretrained)
    return model.eval()


def _file(pretrained: Pretrained, name: str, recipe: str) -> Path:
    if pretrained is True:
        raise ValueError(f'pretrained must be a file: no weights of {name} are published yet; how to make some: {recipe}')
    return Path(pretrained)


def _load(model: nn.Module, weights: dict[str, Tensor], path: Pretrained) -> None:
    """Load weights that lack at most the tokenizer and what only it gives a meaning, as those of converted ViTs do.

    Raises:
        ValueError: They lack more, or there are others.
    """
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing = [key for key in missing if not key.removeprefix('backbone.').startswith(('tokenizer.', 'features.'))]
    if missing or unexpected:
        raise ValueError(f'pretrained must hold the weights of this model, but {path} lacks {missing} and adds {unexpected}')
