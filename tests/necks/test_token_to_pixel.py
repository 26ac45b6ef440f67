"""The neck by itself."""

import pytest
import torch
import torch.nn.functional as F

from dht_mm.necks import TokenToPixel
from dht_mm.ops import use_backend
from dht_mm.structures import Partition, RegionMaps

STRIDES = (4, 8, 16, 32)


def paint_and_pool(partition, tokens, stride):
    """What the neck must give, by way of the painted map; cells at the border average the pixels that they have."""
    return F.avg_pool2d(partition.scatter(tokens), stride, ceil_mode=True, count_include_pad=False)


@pytest.mark.parametrize('size', [(64, 96), (37, 50), (1, 1), (5, 3)])
@pytest.mark.parametrize('backend', ['torch', 'auto'])
def test_levels_are_painted_tokens_pooled(tokens_of, size, backend, device):
    tokens = tokens_of(*size, dtype=torch.float64, device=device)
    with use_backend(backend):
        maps = TokenToPixel(6, STRIDES)(tokens)
    assert isinstance(maps, RegionMaps) and maps.partition is tokens.partition and len(maps) == 4
    for level, stride in zip(maps, STRIDES, strict=True):
        assert level.shape == (2, 6, -(-size[0] // stride), -(-size[1] // stride))
        assert torch.allclose(level, paint_and_pool(tokens.partition, tokens.tokens[0], stride), atol=1e-12)


def test_out_channels_are_a_linear_map_of_the_painted_maps(tokens_of):
    """Made before the painting, and equal to a convolution of one pixel after it."""
    tokens = tokens_of(dtype=torch.float64)
    neck = TokenToPixel(6, (4, 16, 16), (3, 5, 7)).double()
    for level, stride, projection in zip(neck(tokens), neck.strides, neck.projections, strict=True):
        painted = paint_and_pool(tokens.partition, tokens.tokens[0], stride)
        expected = F.conv2d(painted, projection.weight[:, :, None, None], projection.bias)
        assert torch.allclose(level, expected, atol=1e-12)


def test_one_number_of_channels_is_that_of_all_levels(tokens_of):
    assert [level.shape[1] for level in TokenToPixel(6, STRIDES, 9)(tokens_of())] == [9] * 4


def test_each_of_several_blocks_makes_its_level(tokens_of):
    tokens = tokens_of(blocks=2)
    maps = TokenToPixel(6, (4, 8))(tokens)
    assert torch.allclose(maps[0], paint_and_pool(tokens.partition, tokens.tokens[0], 4), atol=1e-6)
    assert torch.allclose(maps[1], paint_and_pool(tokens.partition, tokens.tokens[1], 8), atol=1e-6)


def test_gradients_are_those_of_painting_and_pooling(tokens_of):
    tokens = tokens_of(dtype=torch.float64)
    block, = tokens.tokens
    weights = [torch.randn(3, level.shape[2] * level.shape[3], dtype=torch.float64) for level in TokenToPixel(6, STRIDES)(tokens)]
    neck = TokenToPixel(6, STRIDES, 3).double()
    maps = neck(tokens)
    ours, = torch.autograd.grad(sum((m.flatten(2) * w).sum() for m, w in zip(maps, weights, strict=True)), block, retain_graph=True)
    slow = [paint_and_pool(tokens.partition, projection(block), stride)
            for projection, stride in zip(neck.projections, STRIDES, strict=True)]
    expected, = torch.autograd.grad(sum((m.flatten(2) * w).sum() for m, w in zip(slow, weights, strict=True)), block)
    assert ours.any() and torch.allclose(ours, expected, atol=1e-12)


def test_no_painted_map_is_built(tokens_of, monkeypatch):
    def refuse(*_):
        raise AssertionError('scattered')
    monkeypatch.setattr(Partition, 'scatter', refuse)
    assert len(TokenToPixel(6, STRIDES, 4)(tokens_of())) == 4


@pytest.mark.parametrize('settings', [
    dict(strides=()), dict(strides=(4, 0)), dict(strides=(4.0,)), dict(in_channels=0), dict(out_channels=0),
    dict(out_channels=(1, 2)), dict(out_channels=(1, 2, 3, -4))])
def test_refuses_what_is_no_pyramid(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        TokenToPixel(**dict(in_channels=6) | settings)


def test_refuses_what_no_token_backbone_gives(tokens_of):
    with pytest.raises(TypeError, match=r"out_type='tokens'.*tuple"):
        TokenToPixel(6)((torch.zeros(1, 6, 8, 8),))
    with pytest.raises(ValueError, match='out_indices.* got 2'):
        TokenToPixel(6, (4, 8, 16))(tokens_of(blocks=2))
    with pytest.raises(ValueError, match='in_channels=7.* 6 dim'):
        TokenToPixel(7)(tokens_of())
