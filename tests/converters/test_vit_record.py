"""Every key of a plain ViT is accounted for, and anything unexpected is an error that names it."""

import pytest
import torch
from retrofits import draw_images, make_timm, retrofit
from torch import Tensor

from dht_mm.converters import convert_vit


def test_every_key_is_accounted_for():
    weights = make_timm('vit_small_patch14_dinov2').state_dict() | dict(mask_token=torch.zeros(1, 48))
    before = {key: value.clone() for key, value in weights.items()}
    conversion = convert_vit(weights, patch_size=16, pos_grid=(4, 4), gradient=True)
    assert sorted([*conversion.mapped, *conversion.unused]) == sorted(weights)
    targets = {target for targets in conversion.mapped.values() for target in targets}
    assert targets | conversion.filled.keys() == conversion.state_dict.keys() and not targets & conversion.filled.keys()
    assert conversion.resampled == {'patch_embed.proj.weight': '14x14 -> 16x16', 'pos_embed': '6x6 -> 4x4'}
    assert conversion.filled == {'backbone.embedding.gradient_embed.weight': '0'}
    report = conversion.report().splitlines()
    assert 'pos_embed -> backbone.embedding.pos_embed.weight (resampled 6x6 -> 4x4)' in report
    assert 'blocks.1.ls2.gamma -> backbone.encoder.blocks.1.ls2.gamma' in report
    assert any(line.startswith('mask_token not used: ') for line in report)
    assert any(line.startswith('backbone.tokenizer.* missing in the source, not set: ') for line in report)
    for value in conversion.state_dict.values():
        value.zero_()
    assert all(torch.equal(value, before[key]) for key, value in weights.items())


def test_layer_scale_and_bias_are_filled_in():
    filled = convert_vit(make_timm('vit_base_patch16_clip_224').state_dict()).filled
    scales = [f'backbone.encoder.blocks.{block}.ls{branch}.gamma' for block in (0, 1) for branch in (1, 2)]
    assert filled == dict.fromkeys(scales, '1') | {
        'backbone.embedding.patch_embed.bias': '0'}


def test_gradient_features_start_without_effect():
    weights = make_timm('vit_tiny_patch16_224').state_dict()
    model, plain = (retrofit(convert_vit(weights, gradient=gradient), num_heads=3) for gradient in (True, False))
    images = draw_images(96)
    assert model.features.gradient is not None and torch.equal(model(images)[0], plain(images)[0])


def test_half_precision_is_widened():
    weights = {key: value.half() for key, value in make_timm('vit_tiny_patch16_224').state_dict().items()}
    assert {value.dtype for value in convert_vit(weights).state_dict.values()} == {torch.float32}


def drop(*keys: str):
    return lambda weights: [weights.pop(key) for key in keys]


def put(key: str, value: Tensor):
    return lambda weights: weights.update({key: value})


@pytest.mark.parametrize('change, message', [
    (drop('blocks.1.norm2.bias'), r"must have the timm layout, but lacks \['blocks.1.norm2.bias'\] and adds \[\]"),
    (drop('blocks.0.attn.proj.weight', 'blocks.1.attn.proj.weight'), r"lacks \['blocks.0.attn.proj.weight', 'blocks.1.attn.proj.w"),
    (drop('blocks.0.attn.qkv.bias'), r"adds \['blocks.1.attn.qkv.bias'\]"),
    (drop('blocks.1.norm1.bias'), r"lacks \['blocks.1.norm1.bias'\]"),
    (put('blocks.0.mlp.fc1.bias', torch.tensor(1.0)), r'blocks.0.mlp.fc1.weight must be of shape \(1, 48\)|fc1.bias must be'),
    (drop('norm.bias'), r"lacks \['norm.bias'\]"),
    (drop('pos_embed'), 'must have pos_embed, but has not'),
    (drop('patch_embed.proj.weight'), 'must have patch_embed.proj.weight, but has not'),
    (drop('blocks.0.norm1.weight'), 'must have the layout of one of'),
    (put('head_dist.weight', torch.ones(1)), r"adds \['head_dist.weight'\]"),
    (put('blocks.1.ls1.gamma', torch.ones(48)), r"adds \['blocks.1.ls1.gamma'\]"),
    (put('norm.weight', torch.full((48,), torch.nan)), 'norm.weight must hold finite floats'),
    (put('norm.weight', torch.ones(48, dtype=torch.int64)), 'norm.weight must hold finite floats, got torch.int64'),
    (put('norm.weight', torch.ones(47)), r'norm.weight must be of shape \(48,\) in a ViT of 48 dimensions, got \(47,\)'),
    (put('blocks.1.attn.qkv.weight', torch.ones(48, 48)), r'blocks.1.attn.qkv.weight must be of shape \(144, 48\)'),
    (put('blocks.1.mlp.fc2.weight', torch.ones(48, 96)), r'blocks.1.mlp.fc2.weight must be of shape \(48, 192\)'),
    (put('patch_embed.proj.weight', torch.ones(48, 3, 16, 8)), r'proj.weight must be \[D, C, q, q\], got shape \(48, 3, 16, 8\)'),
    (put('patch_embed.proj.bias', torch.ones(47)), r'proj.bias must be of shape \(48,\), got \(47,\)'),
    (put('cls_token', torch.ones(1, 48)), r'cls_token must be \[1, N, 48\], got shape \(1, 48\)'),
    (put('pos_embed', torch.ones(1, 37, 24)), r'pos_embed must be \[1, N, 48\]'),
    (put('pos_embed', torch.ones(1, 40, 48)), 'source_grid must tell the patches along y and x of 40 positional embeddings'),
])
def test_unexpected_weights_are_named(change, message: str):
    weights = make_timm('vit_tiny_patch16_224').state_dict()
    change(weights)
    with pytest.raises(ValueError, match=message):
        convert_vit(weights)


@pytest.mark.parametrize('options, message', [
    (dict(layout='beit'), "layout must be 'auto' or one of .* got 'beit'"),
    (dict(layout='mmpretrain'), 'must have patch_embed.projection.weight'),
    (dict(patch_size=0), 'patch_size must be positive and finite'),
    (dict(pos_grid=(0, 4)), r'pos_grid must be positive and finite, got \(0, 4\)'),
    (dict(pos_scale=float('inf')), 'pos_scale must be positive and finite'),
    (dict(source_grid=(5, 5)), r'source_grid must tell .* got \(5, 5\)'),
])
def test_bad_arguments_are_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        convert_vit(make_timm('vit_tiny_patch16_224').state_dict(), **options)
