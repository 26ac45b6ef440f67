"""One number or colour a region, on exactly its pixels."""

import numpy as np
import pytest
import torch

from dht_mm.visualization import paint_colors, paint_values, value_colors, with_color_bar, with_legend

LABELS = np.array([[0, 0, 1], [2, 2, 1]])


def lightness(colors: np.ndarray) -> np.ndarray:
    """Relative luminance (ITU-R BT.709) of uint8 RGB."""
    return (colors / 255)**2.2 @ np.array([0.2126, 0.7152, 0.0722])


def test_scale_of_colours_rises_in_lightness_so_that_it_reads_without_hue():
    assert (np.diff(lightness(value_colors(np.linspace(0, 1, 50), 0, 1))) > 0).all()


def test_every_pixel_has_the_colour_of_its_regions_value():
    values = torch.tensor([3.0, -1.0, 0.5], requires_grad=True)
    painted = paint_values(LABELS, values)
    assert painted.dtype == np.uint8 and (painted == value_colors([3.0, -1.0, 0.5], -1, 3)[LABELS]).all()
    assert (painted[0, 2] == value_colors(0, 0, 1)).all() and (painted[0, 0] == value_colors(1, 0, 1)).all()


def test_numbers_beyond_the_ends_take_their_colours_and_one_value_is_dark():
    assert (value_colors([-5, 9], 0, 1) == value_colors([0, 1], 0, 1)).all()
    assert (paint_values(LABELS, np.full(3, 7)) == value_colors(0, 0, 1)).all()


def test_own_colours_are_rounded_to_bytes():
    colors = np.array([[1, 0, 0.5], [0.2, 0.2, 0.2], [0, 0, 0]])
    assert (paint_colors(LABELS, colors) == np.rint(255 * colors).astype(np.uint8)[LABELS]).all()


@pytest.mark.parametrize('call, message', [
    (lambda: paint_values(LABELS, [1.0, 2.0]), r'values must have a row for each label from 0 to 2, got shape \(2,\)'),
    (lambda: paint_values(LABELS - 1, [1.0, 2.0]), 'values must have a row'),
    (lambda: paint_values(LABELS, [1.0, np.nan, 2.0]), 'values must be finite, got nan'),
    (lambda: value_colors([1.0], 2, 1), 'low and high must be finite and in this order, got 2 and 1'),
    (lambda: paint_colors(LABELS, np.full((3, 3), 1.5)), 'colors must be'),
    (lambda: paint_colors(LABELS, np.zeros((3, 4))), r'colors must be .* got shape \(3, 4\)'),
])
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize('width', [1, 200])
def test_legends_stand_below_the_whole_picture(width: int):
    picture = np.random.default_rng(0).integers(0, 256, (5, width, 3), np.uint8)
    bar = with_color_bar(picture, -1.5, 2000)
    legend = with_legend(picture, {'level 1: 3 regions': (10, 200, 30), 'whole image: 1 region': (0, 0, 255)})
    for drawn in (bar, legend):
        assert (drawn[:5, :width] == picture).all() and len(drawn) > 25 and drawn.shape[1] >= width
        assert (drawn[:, -1] == 255).any(), 'nothing is cut off at the right'
    assert (with_color_bar(picture, -1.5, 2000, above=True)[:, :width][:5] == picture).all()
    assert with_color_bar(picture[:, :1], 0, 1, above=True).shape[1] > with_color_bar(picture[:, :1], 0, 1).shape[1], 'an end that is open'
    ends = bar[5:].reshape(-1, 3).tolist()
    assert all(value_colors(end, 0, 1).tolist() in ends for end in (0, 1))
    below = legend[5:].reshape(-1, 3).tolist()
    assert below.count([10, 200, 30]) == below.count([0, 0, 255]) == 100
