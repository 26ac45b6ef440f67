"""Strips of pictures: nothing is cut, blurred or covered."""

import numpy as np
import pytest

from dht_mm.visualization import panel_strip, stack_strips, upscale


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def contains(strip: np.ndarray, part: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(strip, part.shape)
    return bool((windows == part).all(axis=(-3, -2, -1)).any())


def test_upscale_repeats_pixels_of_images_and_label_maps():
    image = picture(2, 3)
    assert (upscale(image, 3) == np.kron(image, np.ones((3, 3, 1), np.uint8))).all()
    assert upscale(np.array([[1, 2]]), 2).tolist() == [[1, 1, 2, 2]] * 2


@pytest.mark.parametrize('factor', [0, -1, 1.5])
def test_bad_factor_is_named(factor):
    with pytest.raises(ValueError, match=f'factor must be a positive integer, got {factor}'):
        upscale(picture(2, 2), factor)


def test_a_row_of_numbers_cannot_be_upscaled():
    with pytest.raises(ValueError, match=r'array must be .* got shape \(3,\)'):
        upscale(np.arange(3), 2)


def test_strip_holds_every_picture_unchanged():
    pictures = {'one': picture(9, 4), 'two': picture(6, 8, 1)}
    strip = panel_strip(pictures)
    assert strip.dtype == np.uint8
    assert all(contains(strip, part) for part in pictures.values())


def test_small_pictures_are_enlarged_by_an_integer():
    strip = panel_strip({'small': picture(5, 4), 'large': picture(12, 6)}, min_height=12)
    assert contains(strip, upscale(picture(5, 4), 3)) and contains(strip, picture(12, 6))


def test_a_caption_is_drawn_and_a_long_one_widens_its_column():
    def ink(caption: str) -> np.ndarray:
        strip = panel_strip({caption: np.full((4, 4, 3), 255, np.uint8)})
        return np.argwhere(strip.min(axis=-1) < 128)

    assert len(ink('')) == 0 and len(ink('caption')) > 10
    long = 'a caption much wider than its picture'
    strip = panel_strip({long: picture(4, 4)})
    assert ink(long)[:, 1].max() < strip.shape[1] - 1 and strip.shape[1] > 100


def test_stack_keeps_strips_and_fills_up_with_white():
    wide, narrow = picture(2, 5), picture(3, 2, 1)
    stacked = stack_strips([wide, narrow])
    assert stacked.shape == (5, 5, 3)
    assert (stacked[:2] == wide).all() and (stacked[2:, :2] == narrow).all() and (stacked[2:, 2:] == 255).all()


def test_nothing_to_show_is_an_error():
    with pytest.raises(ValueError, match='pictures must hold at least one'):
        panel_strip({})
    with pytest.raises(ValueError, match='strips must hold at least one'):
        stack_strips([])


def test_a_picture_of_floats_is_an_error():
    with pytest.raises(TypeError, match='image must be a uint8'):
        panel_strip({'a': np.zeros((2, 2, 3))})
