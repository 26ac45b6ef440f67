"""What is painted are the tokens and the attention probabilities that the model really has."""

import numpy as np
import pytest
import torch
from torch import nn

from dht_mm.backbones import DHTViT
from dht_mm.encoder import TokenLayout
from dht_mm.visualization import draw_heads, draw_tokens, observe_block, principal_colors, region_attention


def make_backbone(device: str, **options) -> DHTViT:
    torch.manual_seed(0)
    arch = dict(embed_dims=24, num_layers=3, num_heads=4)
    backbone = DHTViT(**dict(arch=arch, img_size=32, patch_size=8, num_register_tokens=2) | options).to(device).eval()
    for weight in backbone.parameters():
        nn.init.normal_(weight, std=0.3) if weight.dim() > 1 else None  # else attention is all but uniform
    return backbone


@pytest.fixture
def images(device: str) -> torch.Tensor:
    torch.manual_seed(1)
    return (torch.randn(2, 3, 6, 8).repeat_interleave(4, 2).repeat_interleave(4, 3) + 0.1 * torch.randn(2, 3, 24, 32)).to(device)


@pytest.mark.parametrize('out_type', ['cls_token', 'featmap', 'tokens'])
def test_tokens_are_those_of_the_block_whatever_the_model_outputs(device, images, out_type):
    backbone = make_backbone(device, out_type=out_type, out_indices=(2,))
    full = make_backbone(device, out_type='tokens', out_indices=(0, 1, 2))
    before = backbone(images)
    with torch.no_grad():
        expected = full(images)
    for block in (0, 1):
        assert torch.allclose(observe_block(backbone, images, block).regions, expected.tokens[block], atol=1e-5)
    last = observe_block(backbone, images, -1)
    assert torch.allclose(backbone.encoder.norm(last.regions), expected.tokens[2], atol=1e-5)
    assert (backbone.out_type, backbone.out_indices) == (out_type, (2,)) and not backbone.encoder.blocks[2]._forward_hooks
    after = backbone(images)
    assert torch.equal(before.tokens[0], after.tokens[0]) if out_type == 'tokens' else torch.equal(before[0], after[0])


@pytest.mark.parametrize('qk_norm', [False, True])
@pytest.mark.parametrize('block, point', [(0, None), (-1, None), (1, (5, 20))])
def test_probabilities_are_those_that_the_block_mixes_values_with(device, images, qk_norm, block, point):
    backbone = make_backbone(device, qk_norm=qk_norm)
    seen = observe_block(backbone, images, block)
    attention = region_attention(seen, point)
    layer, layout = seen.layer, TokenLayout(seen.offsets, len(seen.inputs))
    with torch.no_grad():
        normed = layer.norm1(seen.inputs)
        mixed = layer.attn(normed, layout.attention(torch.float32, layer.attn.head_dims), nn.Identity())
        values = layer.attn.qkv(normed).view(len(normed), 3, 4, 6)[:, 2]
    regions = attention.regions.split(seen.partition.num_regions.tolist())
    for image, (prefix, share) in enumerate(zip(attention.prefix, regions, strict=True)):
        start, end = seen.offsets[image:image + 2].tolist()
        probability = torch.cat([prefix, share])
        assert torch.allclose(probability.sum(0), torch.ones(4, device=device)) and probability.std() > 1e-3
        query = start if point is None else start + 3 + int(seen.partition.labels[image, point[0], point[1]])
        expected = layer.attn.proj(torch.einsum('th,thd->hd', probability, values[start:end]).flatten())
        assert torch.allclose(mixed[query], expected, atol=1e-4)


def test_maps_carry_their_regions_probability_at_every_pixel(device, images):
    seen = observe_block(make_backbone(device), images)
    attention = region_attention(seen)
    maps = seen.partition.scatter(attention.regions)
    y, x = 13, 27
    row = int(seen.partition.packed_labels[1, y, x])
    assert maps.shape == (2, 4, 24, 32) and torch.equal(maps[1, :, y, x], attention.regions[row])


def test_an_image_alone_has_the_same_attention(device, images):
    backbone = make_backbone(device)
    both, alone = (region_attention(observe_block(backbone, batch)) for batch in (images, images[1:]))
    assert torch.allclose(both.prefix[1:], alone.prefix, atol=1e-5)
    assert torch.allclose(both.regions[-len(alone.regions):], alone.regions, atol=1e-5)


def test_a_model_without_class_token_attends_from_regions_alone(images):
    images = images.cpu()
    seen = observe_block(make_backbone('cpu', with_cls_token=False, out_type='tokens', num_register_tokens=0), images)
    assert region_attention(seen, (0, 0)).prefix.shape == (2, 0, 4)
    with pytest.raises(ValueError, match='point must be a pixel for a backbone without class token, got None'):
        region_attention(seen)


@pytest.mark.parametrize('block, point, message', [
    (3, None, 'block must name one of the 3 blocks, got 3'), (-4, None, 'got -4'),
    (0, (24, 0), r'point must be \(y, x\) of a pixel of 24 rows and 32 columns, got \(24, 0\)'), (0, (0, -1), r'got \(0, -1\)'),
])
def test_bad_arguments_are_named(images, block, point, message):
    with pytest.raises(ValueError, match=message):
        region_attention(observe_block(make_backbone('cpu'), images.cpu(), block), point)


def test_principal_colours_follow_the_direction_of_greatest_variance_and_weigh_regions_by_pixels():
    along = torch.tensor([3.0, 1.0, -0.5])
    share = torch.linspace(-1, 1, 101)
    colors = principal_colors(share[:, None] * along + 5, torch.ones(101).int())
    assert (colors[:, 0].diff() >= 0).all() and colors[0, 0] == 0 and colors[-1, 0] == 1, 'the largest entry of the direction is positive'
    assert (colors[:, 1:] == 0.5).all(), 'there is no second direction'
    tokens = torch.tensor([[-10.0, 0.0], [10.0, 0.0], [0.0, -4.0], [0.0, 4.0]])
    first = {sizes: principal_colors(tokens, torch.tensor(sizes))[:, 0].tolist() for sizes in ((1, 1, 1, 1), (1, 1, 50, 50))}
    assert first[1, 1, 1, 1] == pytest.approx([0, 1, 0.5, 0.5]) and first[1, 1, 50, 50] == pytest.approx([0.5, 0.5, 0, 1])
    same = torch.full((9, 4), 7.3) + 1e-6 * torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    for tokens in (torch.ones(1, 4), torch.zeros(3, 4), same):
        assert (principal_colors(tokens, torch.ones(len(tokens)).int()) == 0.5).all(), 'rounding is no difference'


def test_bad_tokens_are_named():
    with pytest.raises(ValueError, match=r'tokens and size must be .* got \(2, 3\) and \(3,\)'):
        principal_colors(torch.zeros(2, 3), torch.ones(3))


@torch.no_grad()
def test_pictures(images):
    images = images[:1].cpu()
    image = (images[0].permute(1, 2, 0) * 50 + 128).clamp(0, 255).byte().numpy()
    backbone = make_backbone('cpu')
    tokens = draw_tokens(image, backbone, images, block=1, point=(3, 4))
    heads = draw_heads(image, backbone, images)
    bare = draw_tokens(image, make_backbone('cpu', with_cls_token=False, out_type='tokens'), images)
    assert tokens.dtype == heads.dtype == np.uint8 and min(len(tokens), len(heads)) > 240
    assert ((tokens == (213, 94, 0)).all(-1)).any() and not ((heads == (213, 94, 0)).all(-1)).any(), 'only a region is outlined'
    assert tokens.shape == bare.shape
    with pytest.raises(ValueError, match='inputs must be one image'):
        draw_tokens(image[1:], backbone, images)
