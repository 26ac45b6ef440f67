"""Recall and precision of borders, by hand, and the border pixels against scikit-image."""

import numpy as np
import pytest
import torch

from dht_mm.metrics import boundary_precision, boundary_recall
from dht_mm.metrics.boundary import border_pixels


def split_at(column: int, width: int = 10) -> np.ndarray:
    """``[4, width]``: two regions, the second from a column on; its border pixels lie in this column and the one before."""
    return np.repeat((np.arange(width) >= column)[None], 4, 0).astype(int)


@pytest.mark.parametrize(('tolerance', 'share'), [(0, 0), (1, 0.5), (2, 1)])
def test_shifted_border(tolerance: int, share: float):
    ours, theirs = split_at(3), split_at(5)  # border columns 2, 3 and 4, 5
    assert boundary_recall(ours, theirs, tolerance) == share
    assert boundary_precision(ours, theirs, tolerance) == share


def test_what_is_superfluous_costs_precision_and_not_recall():
    both = split_at(3) + split_at(7)  # border columns 2, 3, 6, 7
    assert boundary_recall(both, split_at(3), 0) == 1
    assert boundary_precision(both, split_at(3), 0) == 0.5
    assert boundary_recall(split_at(3), both, 0) == 0.5


def test_no_border_misses_nothing():
    blank = np.zeros((4, 10), int)
    assert boundary_recall(blank, blank) == boundary_precision(blank, blank) == 1
    assert boundary_recall(split_at(3), blank) == 1 and boundary_precision(split_at(3), blank) == 0
    assert boundary_recall(blank, split_at(3)) == 0 and boundary_precision(blank, split_at(3)) == 1


def test_corners_count_as_near():
    theirs, ours = np.zeros((5, 5), int), np.zeros((5, 5), int)
    theirs[0, 0], ours[4, 4] = 1, 1  # border pixels (0,0) (0,1) (1,0) and (4,4) (4,3) (3,4)
    assert boundary_recall(ours, theirs, 2) == 0
    assert boundary_recall(ours, theirs, 3) == pytest.approx(2 / 3)  # not (0,0), which is 4 rows or columns away from each


def test_several_segmentations_give_the_mean():
    assert boundary_recall(split_at(3), [split_at(3), split_at(9)]) == 0.5
    assert boundary_precision(split_at(3), np.stack([split_at(3), split_at(9)])) == 0.5


def test_open_pixels_are_neither_asked_for_nor_held_against():
    theirs = split_at(5)
    theirs[:, 5:] = 255
    assert boundary_recall(split_at(5), theirs, 0, ignore_index=255) == 1
    assert boundary_precision(split_at(5) + split_at(8), theirs, 0, ignore_index=255) == 1
    assert boundary_precision(split_at(5) + split_at(8), theirs, 0) == 0.5


@pytest.mark.parametrize('shape', [(1, 1), (1, 7), (9, 12)])
def test_border_pixels_are_those_of_scikit_image(shape: tuple[int, int]):
    find_boundaries = pytest.importorskip('skimage.segmentation').find_boundaries
    labels = np.random.default_rng(0).integers(0, 3, shape)
    assert (border_pixels(torch.from_numpy(labels)).numpy() == find_boundaries(labels, connectivity=1, mode='thick')).all()


@pytest.mark.parametrize('tolerance', [-1, 1.0, True])
def test_bad_tolerance_is_named(tolerance):
    with pytest.raises(ValueError, match=f'tolerance must be a non-negative integer, got {tolerance}'):
        boundary_recall(split_at(3), split_at(3), tolerance)
