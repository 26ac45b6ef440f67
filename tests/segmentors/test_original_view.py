"""Maps of the model's input as maps of the original image."""

import pytest
import torch

from dht_mm.segmentors import original_view

MAP = torch.arange(12.0).view(1, 3, 4)


def test_nothing_done_is_nothing_undone():
    assert torch.equal(original_view(MAP, {}), MAP)


@pytest.mark.parametrize('key', ['padding_size', 'img_padding_size'])
def test_padding_is_cut_off(key):
    """Left 1, right 0, top 0, bottom 2."""
    assert original_view(MAP, {key: [1, 0, 0, 2], 'ori_shape': (1, 3)}).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize(('direction', 'axis'), [('horizontal', 2), ('vertical', 1)])
def test_flips_are_undone(direction, axis):
    assert torch.equal(original_view(MAP, dict(flip=True, flip_direction=direction, ori_shape=(3, 4))), MAP.flip(axis))


def test_resizing_repeats_pixels_and_mixes_none():
    larger = original_view(MAP, dict(ori_shape=(6, 8)))
    assert torch.equal(larger, MAP.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert set(original_view(MAP, dict(ori_shape=(5, 7))).flatten().tolist()) <= set(MAP.flatten().tolist())


@pytest.mark.parametrize('shape', [(5, 7), (2, 3), (9, 2)])
def test_flipping_and_resizing_commute(shape):
    flipped = original_view(MAP.flip(2), dict(flip=True, flip_direction='horizontal', ori_shape=shape))
    assert torch.equal(flipped, original_view(MAP, dict(ori_shape=shape)))


def test_refuses_an_unknown_flip():
    with pytest.raises(ValueError, match="flip_direction.* 'diagonal'"):
        original_view(MAP, dict(flip=True, flip_direction='diagonal'))
