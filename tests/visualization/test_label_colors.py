"""Colours: all different, stable, and different where regions touch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dht_mm.visualization import label_palette, paint_labels, paint_regions


def nearest_pair(colors: np.ndarray) -> float:
    distance = np.linalg.norm(colors[:, None].astype(float) - colors[None], axis=-1)
    return distance[~np.eye(len(colors), dtype=bool)].min()


@pytest.mark.parametrize('count, apart', [(12, 80), (24, 50), (150, 15), (1000, 1)])
def test_palette_colors_lie_apart(count: int, apart: float):
    assert nearest_pair(label_palette(count)) >= apart


def test_consecutive_labels_have_very_different_colors():
    assert np.linalg.norm(np.diff(label_palette(1000).astype(float), axis=0), axis=1).min() >= 100


def test_longer_palette_starts_with_the_shorter():
    assert (label_palette(300)[:20] == label_palette(20)).all()


def test_palette_of_nothing_is_empty():
    assert label_palette(0).shape == (0, 3)


def test_negative_count_is_named():
    with pytest.raises(ValueError, match='count must be at least 0, got -1'):
        label_palette(-1)


def check_neighbours_differ(labels: np.ndarray):
    painted = paint_regions(labels).astype(float)
    for axis in (0, 1):
        border = np.diff(labels, axis=axis) != 0
        distance = np.linalg.norm(np.diff(painted, axis=axis), axis=-1)
        assert (distance[border] >= 50).all() and (distance[~border] == 0).all()


@settings(deadline=None, max_examples=30)
@given(arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 9)))
def test_regions_that_share_a_border_have_different_colors(labels: np.ndarray):
    check_neighbours_differ(labels)


def test_a_region_that_touches_hundreds_of_others_stands_out_from_all():
    labels = np.zeros((41, 41), int)
    labels[1::2, 1::2] = np.arange(1, 401).reshape(20, 20)
    check_neighbours_differ(labels)
    assert len(np.unique(paint_regions(labels).reshape(-1, 3), axis=0)) <= 12


def test_class_map_takes_the_palette_and_black_where_ignored():
    palette = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    painted = paint_labels(np.array([[0, 1, 255]], np.uint8), palette, ignore_index=255)
    assert painted.tolist() == [[[1, 2, 3], [4, 5, 6], [0, 0, 0]]]


@pytest.mark.parametrize('label', [-1, 2, 255])
def test_label_without_a_color_is_named(label: int):
    with pytest.raises(ValueError, match=f'palette of 2, got label {label}'):
        paint_labels(np.array([[0, label]]), label_palette(2))


@pytest.mark.parametrize('palette', [np.zeros((2, 3)), np.zeros((2, 4), np.uint8), np.zeros(3, np.uint8)])
def test_bad_palette_is_named(palette: np.ndarray):
    with pytest.raises(ValueError, match='palette must be uint8'):
        paint_labels(np.zeros((1, 1), int), palette)
