"""A converted ViT computes what it did: for real weights and photographs, and for the architectures of timm and mmpretrain."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from plain_vit import plain_vit
from retrofits import draw_images, make_timm, randomise, retrofit
from torch import Tensor, nn

from dht_mm.converters import convert_vit

TOLERANCE = 1e-4


def error(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape and expected.isfinite().all() and expected.std() > 0.1
    return (found - expected).abs().max().item()


# ---- real weights, real images


@pytest.fixture(scope='module')
def dinov2_weights(shared: Path) -> dict[str, Tensor]:
    weights = torch.load(shared / 'weights/vits14_dinov2_saliency.pth', map_location='cpu', weights_only=True)
    return {key: value.float() for key, value in weights.items()}


def load_photo(shared: Path, name: str, size: tuple[int, int]) -> Tensor:
    """``[1, 3, *size]``, normalised."""
    image = Image.open(shared / f'images/{name}.jpg').convert('RGB').resize(size[::-1], Image.Resampling.BICUBIC)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return torch.from_numpy((np.asarray(image) / 255 - mean) / std).float().permute(2, 0, 1)[None]


@torch.no_grad()
@pytest.mark.parametrize('name, size', [('cowbike', (518, 518)), ('toys', (224, 224)), ('bench', (140, 322))])
def test_real_weights_on_photographs(dinov2_weights: dict[str, Tensor], shared: Path, name: str, size: tuple[int, int]):
    image = load_photo(shared, name, size)
    grid = (size[0] // 14, size[1] // 14)
    positions = dinov2_weights['pos_embed']
    if grid != (37, 37):
        cells = positions[:, 1:].mT.unflatten(2, (37, 37))
        positions = torch.cat([positions[:, :1], F.interpolate(cells, grid, mode='bicubic').flatten(2).mT], 1)
    expected = plain_vit(dinov2_weights, image, 6, positions)
    model = retrofit(convert_vit(dinov2_weights, 'dinov2', pos_grid=grid), out_type='raw')
    assert error(model(image)[0], expected) < TOLERANCE
    model.out_type = 'featmap'
    assert error(model(image)[0], expected[:, 1:].mT.unflatten(2, grid)) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize('name', ['vit_small_patch16_224', 'vit_base_patch32_224', 'deit3_small_patch16_224'])
def test_whole_models_of_timm_on_a_photograph(name: str, shared: Path):
    source = randomise(pytest.importorskip('timm').create_model(name), 0.05)
    image = load_photo(shared, 'tennis', (224, 224))
    model = retrofit(convert_vit(source.state_dict()), out_type='raw')
    assert error(model(image)[0], source.forward_features(image)) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize('options', [
    dict(type='VisionTransformer', arch='deit-small'), dict(type='DeiT3', arch='s'),
    dict(type='VisionTransformer', arch='dinov2-s', img_size=224, patch_size=14, layer_scale_init_value=1e-5)], ids=str)
def test_whole_models_of_mmpretrain_on_a_photograph(options: dict, shared: Path):
    source = make_mmpretrain(0.05, **dict(img_size=224) | options)
    image = load_photo(shared, 'tennis', (224, 224))
    model = retrofit(convert_vit(source.state_dict()), out_type='raw')
    assert error(model(image)[0], source(image)[0]) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize('patch_size', [16, 28])
def test_larger_patches_embed_the_squares_of_the_old_size_as_before(
        dinov2_weights: dict[str, Tensor], shared: Path, patch_size: int):
    image = load_photo(shared, 'oldkitchen', (112, 98))
    plain = retrofit(convert_vit(dinov2_weights, pos_grid=(8, 7)))
    model = retrofit(convert_vit(dinov2_weights, patch_size=patch_size, pos_grid=(8, 7)), tokenizer_size=14)
    assert model.patch_size == patch_size and error(model(image)[0], plain(image)[0]) < TOLERANCE


@torch.no_grad()
def test_scale_of_positions_does_not_matter(dinov2_weights: dict[str, Tensor], shared: Path):
    image = load_photo(shared, 'oldkitchen', (70, 98))
    plain, scaled = (retrofit(convert_vit(dinov2_weights, pos_grid=(5, 7), pos_scale=scale)) for scale in (None, 16))
    assert scaled.features.position.scale == 16 and error(scaled(image)[0], plain(image)[0]) < TOLERANCE


# ---- timm

CLIP = dict(norm_cfg=dict(type='LN', eps=1e-5))
TIMM = [
    ('vit_tiny_patch16_224', {}), ('vit_small_patch8_224', {}), ('vit_base_patch32_224', {}), ('vit_medium_patch16_gap_240', {}),
    ('vit_base_patch16_clip_224', CLIP), ('vit_small_patch14_dinov2', {}), ('vit_small_patch14_reg4_dinov2', {}),
    ('vit_giant_patch14_dinov2', {}), ('vit_medium_patch16_reg4_gap_256', {}), ('deit3_small_patch16_224', {}),
    ('deit3_medium_patch16_224', {}), ('deit3_base_patch16_224', {})]


def without_registers(source: nn.Module, tokens: Tensor) -> Tensor:
    cls = int(source.cls_token is not None)
    return torch.cat([tokens[:, :cls], tokens[:, source.num_prefix_tokens:]], 1)


@torch.no_grad()
@pytest.mark.parametrize('name, options', TIMM, ids=[name for name, _ in TIMM])
def test_timm(name: str, options: dict):
    source = make_timm(name)
    images, conversion = draw_images(source.patch_embed.img_size), convert_vit(source.state_dict())
    model = retrofit(conversion, num_heads=3, out_type='raw', out_indices=(0, 1), **options)
    first, last = model(images)
    output = []
    source.blocks[0].register_forward_hook(lambda _module, _inputs, tokens: output.append(tokens))
    assert error(last, without_registers(source, source.forward_features(images))) < TOLERANCE
    assert error(first, without_registers(source, output[0])) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize('name', ['vit_tiny_patch16_224', 'deit3_small_patch16_224', 'vit_medium_patch16_reg4_gap_256'])
def test_classifiers_of_timm(name: str):
    source = make_timm(name)
    images, conversion = draw_images(source.patch_embed.img_size), convert_vit(source.state_dict())
    features, = retrofit(conversion, num_heads=3)(images)
    head = [conversion.state_dict[f'head.fc.{leaf}'] for leaf in ('weight', 'bias')]
    assert error(F.linear(features, *head), source(images)) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize('options', [dict(qkv_bias=False), dict(qk_norm=True), dict(init_values=0.2), dict(in_chans=1), dict(reg_tokens=2)])
def test_options_of_timm(options: dict):
    source = make_timm('vit_tiny_patch16_224', **options)
    images, conversion = draw_images(96, options.get('in_chans', 3)), convert_vit(source.state_dict())
    model = retrofit(conversion, num_heads=None if options == dict(qk_norm=True) else 3, out_type='raw')
    assert error(model(images)[0], without_registers(source, source.forward_features(images))) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize('name', ['vit_tiny_patch16_224', 'deit3_small_patch16_224', 'vit_small_patch14_reg4_dinov2'])
@pytest.mark.parametrize('grid', [(3, 4), (9, 8)])
def test_other_sizes_of_timm(name: str, grid: tuple[int, int]):
    """timm resamples the positions of a file to the size that a model is made for."""
    source = make_timm(name)
    size = tuple(side * source.patch_embed.patch_size[0] for side in grid)
    model = retrofit(convert_vit(source.state_dict(), pos_grid=grid), num_heads=3, out_type='raw')
    source.set_input_size(img_size=size)
    images = draw_images(size)
    assert error(model(images)[0], without_registers(source, source.forward_features(images))) < TOLERANCE


@torch.no_grad()
def test_source_grid_that_is_not_square():
    source = make_timm('vit_tiny_patch16_224', img_size=(64, 112))
    images = draw_images((64, 112))
    model = retrofit(convert_vit(source.state_dict(), source_grid=(4, 7)), num_heads=3, out_type='raw')
    assert model.features.position.grid == (4, 7) and error(model(images)[0], source.forward_features(images)) < TOLERANCE
    with pytest.raises(ValueError, match='source_grid must tell the patches along y and x of 29 positional embeddings'):
        convert_vit(source.state_dict())


# ---- the code of DINOv2 and DeiT III


def renamed(weights: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    result = {}
    for key, value in weights.items():
        for old, new in names.items():
            key = key.replace(old, new)
        result[key] = value
    return result


@torch.no_grad()
@pytest.mark.parametrize('grid', [None, (4, 9)])
def test_layouts_of_the_papers_hold_the_same_weights(grid: tuple[int, int] | None):
    deit3 = make_timm('deit3_small_patch16_224').state_dict()
    paper = renamed(deit3, {'ls1.gamma': 'gamma_1', 'ls2.gamma': 'gamma_2'})
    conversion = convert_vit(paper)
    assert conversion.layout == 'deit3' and convert_vit(deit3, 'timm').state_dict.keys() == conversion.state_dict.keys()
    giant = make_timm('vit_giant_patch14_dinov2').state_dict()
    paper = renamed(giant, {'mlp.fc1': 'mlp.w12', 'mlp.fc2': 'mlp.w3'}) | dict(mask_token=torch.zeros(1, 48))
    conversion = convert_vit(paper, pos_grid=grid)
    assert conversion.layout == 'dinov2' and conversion.unused == {'mask_token': 'stands for hidden patches in pre-training'}
    same = convert_vit(giant, pos_grid=grid)  # as timm's, which widens the kernel where the grid gets coarser
    differing = {key for key, value in same.state_dict.items() if not torch.equal(value, conversion.state_dict[key])}
    assert differing == (set() if grid is None else {'backbone.embedding.pos_embed.weight'})


@torch.no_grad()
def test_registers_in_dinov2s_layout_have_no_positions():
    """timm keeps the class token with its positional embedding added; DINOv2's file has both."""
    source = make_timm('vit_small_patch14_reg4_dinov2')
    images, weights = draw_images(84), source.state_dict()
    paper = renamed(weights, {'reg_token': 'register_tokens'})
    paper['pos_embed'] = torch.cat([torch.full((1, 1, 48), 0.3), weights['pos_embed']], 1)
    paper['cls_token'] = weights['cls_token'] - 0.3
    model = retrofit(convert_vit(paper), num_heads=3, out_type='raw')
    assert error(model(images)[0], without_registers(source, source.forward_features(images))) < TOLERANCE


# ---- mmpretrain

SMALL = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=96)
MMPRETRAIN = [
    dict(type='VisionTransformer'), dict(type='VisionTransformer', patch_size=14, layer_scale_init_value=1e-5),
    dict(type='VisionTransformer', layer_scale_init_value=1e-5, layer_cfgs=dict(ffn_type='swiglu_fused')),
    dict(type='VisionTransformer', with_cls_token=False), dict(type='VisionTransformer', pre_norm=True, qkv_bias=False),
    dict(type='VisionTransformer', out_type='avg_featmap'), dict(type='DeiT3')]


def make_mmpretrain(std: float = 0.1, **options) -> nn.Module:
    """A model of mmpretrain; its DeiT3 normalises the input of MLPs by the norm of the attention, so that both must be the same."""
    pytest.importorskip('mmpretrain.models')
    from mmpretrain.registry import MODELS
    defaults = dict(arch=SMALL, img_size=6 * options.get('patch_size', 16), out_type='raw')
    source = randomise(MODELS.build(defaults | options), std)
    for layer in source.layers if options['type'] == 'DeiT3' else ():
        layer.ln1.load_state_dict(layer.ln2.state_dict())
    return source


@torch.no_grad()
@pytest.mark.parametrize('options', MMPRETRAIN, ids=str)
@pytest.mark.parametrize('grid', [(6, 6), (4, 7)])
def test_mmpretrain(options: dict, grid: tuple[int, int]):
    source = make_mmpretrain(**options)
    conversion = convert_vit(source.state_dict(), pos_grid=grid)
    out_type = 'raw' if 'out_type' not in options else options['out_type']
    model = retrofit(conversion, num_heads=3, out_type=out_type)
    images = draw_images(tuple(side * model.patch_size for side in grid))
    assert conversion.layout == 'mmpretrain' and error(model(images)[0], source(images)[0]) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize('head', ['VisionTransformerClsHead', 'LinearClsHead'])
def test_classifiers_of_mmpretrain(head: str):
    pytest.importorskip('mmpretrain.models')
    from mmpretrain.registry import MODELS
    backbone = dict(type='VisionTransformer', arch=SMALL, img_size=96, patch_size=32)
    source = randomise(MODELS.build(dict(
        type='ImageClassifier', backbone=backbone, head=dict(type=head, num_classes=5, in_channels=48))))
    conversion = convert_vit(source.state_dict())
    ours = MODELS.build(dict(
        type='ImageClassifier',
        backbone=dict(type='dht_mm.DHTViT', tokenizer=dict(type='dht_mm.GridTokenizer', patch_size=32), **conversion.options | dict(
            arch=SMALL)),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=48))).eval()
    ours.load_state_dict(conversion.state_dict, strict=False)
    images = draw_images(96)
    assert error(ours(images), source(images)) < TOLERANCE
