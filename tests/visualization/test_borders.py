"""Borders are one pixel wide, exact, and stand out from what they lie on."""

import numpy as np
import pytest
import torch

from dht_mm.structures import Partition
from dht_mm.visualization import border_mask, draw_borders, upscale

HALVES = np.array([[0, 0, 1, 1]] * 3)


def test_border_between_two_halves_is_one_column():
    assert border_mask(HALVES).tolist() == [[False, True, False, False]] * 3


def test_every_pair_of_different_neighbours_has_a_marked_pixel_and_no_other_has():
    labels = np.random.default_rng(0).integers(0, 3, (9, 11))
    right, below = labels[:, :-1] != labels[:, 1:], labels[:-1] != labels[1:]
    expected = np.pad(right, ((0, 0), (0, 1))) | np.pad(below, ((0, 1), (0, 0)))
    assert (border_mask(labels) == expected).all()


def test_a_single_region_has_no_border():
    image = np.full((4, 5, 3), 7, np.uint8)
    assert (draw_borders(image, np.zeros((4, 5), int)) == image).all()


def test_pixels_off_the_border_are_untouched_and_the_input_too():
    image = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    before = image.copy()
    drawn = draw_borders(image, HALVES, (1, 2, 3))
    assert (image == before).all()
    assert (drawn[~border_mask(HALVES)] == image[~border_mask(HALVES)]).all()
    assert (drawn[border_mask(HALVES)] == (1, 2, 3)).all()


@pytest.mark.parametrize('level', range(0, 256, 15))
def test_lines_stand_out_from_every_grey(level: int):
    image = np.full((9, 9, 3), level, np.uint8)
    labels = np.indices((9, 9))[1] // 3
    line = draw_borders(image, labels)[border_mask(labels)].astype(int)
    assert abs(line - level).min() >= 127


def test_lines_follow_the_local_brightness():
    image = np.zeros((4, 40, 3), np.uint8)
    image[:, 20:] = 255
    labels = np.indices((4, 40))[0] // 2
    drawn = draw_borders(image, labels)
    assert (drawn[1, :10] == 255).all() and (drawn[1, 30:] == 0).all()


def test_partition_tensor_and_array_give_the_same_picture():
    image = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    labels = torch.from_numpy(HALVES)
    partition = Partition.from_labels(labels[None], torch.zeros(1, 3, 3, 4))
    for regions in (labels, partition):
        assert (draw_borders(image, regions) == draw_borders(image, HALVES)).all()


def test_border_of_an_enlarged_map_stays_one_pixel_wide():
    assert border_mask(upscale(HALVES, 4)).sum(axis=1).tolist() == [1] * 12


@pytest.mark.parametrize('image, regions, error, message', [
    (np.zeros((3, 4, 3)), HALVES, TypeError, 'image must be a uint8 numpy array, got float64'),
    (torch.zeros(3, 4, 3), HALVES, TypeError, 'image must be'),
    (np.zeros((3, 4), np.uint8), HALVES, ValueError, r'image must be .* \(3, 4\)'),
    (np.zeros((3, 4, 4), np.uint8), HALVES, ValueError, r'image must be .* \(3, 4, 4\)'),
    (np.zeros((0, 4, 3), np.uint8), HALVES, ValueError, r'image must be .* \(0, 4, 3\)'),
    (np.zeros((3, 5, 3), np.uint8), HALVES, ValueError, r'regions must have the size of the image, \(3, 5\), got \(3, 4\)'),
    (np.zeros((3, 4, 3), np.uint8), HALVES * 1.0, TypeError, 'regions must be .* got float64'),
    (np.zeros((3, 4, 3), np.uint8), HALVES > 0, TypeError, 'regions must be .* got bool'),
    (np.zeros((3, 4, 3), np.uint8), HALVES.tolist(), TypeError, 'regions must be .* got list'),
    (np.zeros((3, 4, 3), np.uint8), HALVES[None], ValueError, r'regions must be .* \(1, 3, 4\)'),
    (np.zeros((3, 4, 3), np.uint8), Partition.from_labels(torch.zeros(2, 3, 4, dtype=torch.int), torch.zeros(2, 3, 3, 4)),
     ValueError, 'regions must be a partition of one image, got 2'),
])
def test_bad_input_is_named(image, regions, error: type, message: str):
    with pytest.raises(error, match=message):
        draw_borders(image, regions)


@pytest.mark.parametrize('color', [(1, 2), (0, 0, 256), (-1, 0, 0)])
def test_bad_color_is_named(color: tuple):
    with pytest.raises(ValueError, match='color must be three numbers'):
        draw_borders(np.zeros((3, 4, 3), np.uint8), HALVES, color)
