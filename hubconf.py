"""Models for ``torch.hub``; needs mmengine, and neither mmpretrain nor mmsegmentation.

    tokenizer = torch.hub.load(CHECKOUT, 'dht_tokenizer', source='local', pretrained=True)
    model = torch.hub.load(CHECKOUT, 'dht_vit_small_16', source='local', pretrained='dht-vit-s_deit3-pre.pth', tokenizer=tokenizer)

``pretrained`` names a file: a checkpoint of a runner, of one of this project's converters, or a state dict. True loads the weights that
come with the package: those of tokenizers; there are none of models yet, and the error says how to make some. Weights of a converted ViT
have no tokenizer: give one, as above. What a model is made for besides its weights (position grid, gradient features) can be given as
options of ``dht_mm.backbones.DHTViT``.
"""

import os

import torch
from torch import nn

# torch.hub lists every callable that has a name here: modules are imported instead of what is in them.
from dht_mm import backbones, tokenizer
from dht_mm.tokenizer import checkpoint, shipped

dependencies = ['torch', 'mmengine']
Pretrained = bool | str | os.PathLike


def dht_tokenizer(pretrained: Pretrained = False, **options: object) -> tokenizer.DHTTokenizer:
    """The differentiable hierarchical tokenizer: normalised images to partitions.

    Args:
        pretrained: File of weights of a tokenizer, or of a model that has one; True for the shipped ones that were trained at the
            nearest compactness, False for random weights.
        **options: Of :class:`DHTTokenizer`.
    """
    model = tokenizer.DHTTokenizer(**options)
    if pretrained:
        source = shipped.shipped_tokenizer(model.options['compactness']) if pretrained is True else pretrained
        checkpoint.load_tokenizer(model, source)
    return model.eval()


def dht_vit_small_16(pretrained: Pretrained = False, **options: object) -> backbones.DHTViT:
    """dHT-ViT-S/16 without classifier: normalised images to a tuple with the class tokens ``[B, 384]``.

    Args:
        pretrained: File of weights; False for random ones.
        **options: Of :class:`DHTViT`.
    """
    return _vit('dht_vit_small_16', 'small', pretrained, options)


def dht_vit_base_16(pretrained: Pretrained = False, **options: object) -> backbones.DHTViT:
    """dHT-ViT-B/16 without classifier, ``[B, 768]``; see :func:`dht_vit_small_16`."""
    return _vit('dht_vit_base_16', 'base', pretrained, options)


def dht_vit_large_16(pretrained: Pretrained = False, **options: object) -> backbones.DHTViT:
    """dHT-ViT-L/16 without classifier, ``[B, 1024]``; see :func:`dht_vit_small_16`."""
    return _vit('dht_vit_large_16', 'large', pretrained, options)


class _Classifier(nn.Sequential):
    """A backbone and a linear map of its class token: normalised images to logits ``[B, K]``."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``[B, 3, H, W]`` float to ``[B, K]``."""
        return self.head(self.backbone(images)[-1])


def dht_vit_base_16_in1k(pretrained: Pretrained = False, **options: object) -> _Classifier:
    """dHT-ViT-B/16 with a classifier of ImageNet-1k's classes.

    Args:
        pretrained: File of weights of a model that mmpretrain trained, or of a converted ViT with its classifier; False for random
            ones.
        **options: Of :class:`DHTViT`; by default those of ``configs/dht/classification``.
    """
    name = 'dht_vit_base_16_in1k'
    defaults = dict(features=dict(pos_grid=24, gradient=True), tokenizer=dict(
        type='dht_mm.DHTTokenizer', token_budget=dict(mode='soft'), norm_eval=True))
    model = _Classifier()
    model.backbone, model.head = backbones.DHTViT(arch='base', **defaults | options), nn.Linear(768, 1000)
    if pretrained:
        weights = checkpoint.read_state_dict(_file(pretrained, name, 'configs/dht/classification/README.md'))
        _load(model, {key.replace('head.fc.', 'head.'): value for key, value in weights.items()}, pretrained, 'tokenizer' in options)
    return model.eval()


def _vit(name: str, arch: str, pretrained: Pretrained, options: dict[str, object]) -> backbones.DHTViT:
    model = backbones.DHTViT(arch=arch, **options)
    if pretrained:
        weights = checkpoint.read_state_dict(_file(pretrained, name, 'docs/retrofit.md and configs/dht/classification/README.md'))
        prefix = 'backbone.' if any(key.startswith('backbone.') for key in weights) else ''
        weights = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        _load(model, weights, pretrained, 'tokenizer' in options)
    return model.eval()


def _file(pretrained: Pretrained, name: str, recipe: str) -> str:
    if pretrained is True:
        raise ValueError(f'pretrained must be a file: no weights of {name} are published yet; how to make some: {recipe}')
    return os.fspath(pretrained)


def _load(model: nn.Module, weights: dict[str, torch.Tensor], path: Pretrained, has_tokenizer: bool) -> None:
    """Load weights that lack at most the features' own, as those of converted ViTs do, and the tokenizer where one was given.

    Raises:
        ValueError: They lack more, or there are others.
    """
    missing, unexpected = model.load_state_dict(weights, strict=False)
    optional = ('features.', 'tokenizer.') if has_tokenizer else ('features.',)
    missing = [key for key in missing if not key.removeprefix('backbone.').startswith(optional)]
    if missing or unexpected:
        raise ValueError(f'pretrained must hold the weights of this model, but {path} lacks {missing} and adds {unexpected}')
