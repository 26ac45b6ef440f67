"""Merging regions by Ward's criterion, against a loop that looks at all partitions one merge away."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dht_mm.vector import merge_regions


def squared_error(image: np.ndarray, labels: np.ndarray) -> float:
    return sum(((image[labels == r] - image[labels == r].mean(0)) ** 2).sum() for r in np.unique(labels))


def canonical(labels: np.ndarray) -> np.ndarray:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].reshape(labels.shape)


def test_four_quadrants_of_two_colours():
    image = np.zeros((4, 6, 3), np.uint8)
    image[:2, 3:], image[2:, :3], image[2:, 3:] = 10, 200, 215
    labels = np.kron([[0, 1], [2, 3]], np.ones((2, 3), int))
    assert np.array_equal(merge_regions(image, labels, 2), np.kron([[0], [1]], np.ones((2, 6), int)))
    assert np.array_equal(merge_regions(image, labels, 3), np.kron([[0, 0], [1, 2]], np.ones((2, 3), int)))
    assert not merge_regions(image, labels, 1).any()


def test_one_merge_is_the_one_that_costs_least():
    random = np.random.default_rng(0)
    image, labels = random.integers(0, 256, (5, 7, 3)).astype(np.uint8), np.arange(35).reshape(5, 7)
    merged = merge_regions(image, labels, 34)
    pairs = [*zip(labels[:, :-1].ravel(), labels[:, 1:].ravel(), strict=True), *zip(labels[:-1].ravel(), labels[1:].ravel(), strict=True)]
    least = min(squared_error(image.astype(float), np.where(labels == b, a, labels)) for a, b in pairs)
    assert squared_error(image.astype(float), merged) == pytest.approx(least)


def strict_queue(image: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Always the one merge that costs least, over the whole image."""
    while len(np.unique(labels)) > count:
        pairs = {(min(a, b), max(a, b)) for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1]))
                 for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True) if a != b}
        size, total = np.bincount(labels.ravel()), np.stack([np.bincount(labels.ravel(), channel) for channel in image.reshape(-1, 3).T], 1)
        mean = total / np.maximum(size, 1)[:, None]
        keep, leave = min(sorted(pairs), key=lambda pair: (
            size[pair[0]] * size[pair[1]] / (size[pair[0]] + size[pair[1]]) * ((mean[pair[0]] - mean[pair[1]])**2).sum()))
        labels = np.where(labels == leave, keep, labels)
    return canonical(labels)


def test_a_dear_pair_waits_for_cheap_ones_elsewhere():
    image = np.repeat(np.array([[0, 50, 200, 201, 202, 203]], np.uint8)[..., None], 3, 2)  # 0 and 50 are the cheapest to each other
    assert merge_regions(image, np.arange(6)[None], 3).tolist() == [[0, 1, 2, 2, 2, 2]]


@pytest.mark.parametrize('count', [20, 5])
def test_nearly_as_good_as_a_strict_queue(count: int):
    random = np.random.default_rng(count)
    errors = []
    for _ in range(3):
        image = ndimage.zoom(random.integers(0, 256, (4, 5, 3)), (2, 2, 1), order=1).clip(0, 255).astype(np.uint8)
        labels = np.arange(image[..., 0].size).reshape(image.shape[:2])
        errors.append([squared_error(image.astype(float), merge(image, labels, count)) for merge in (merge_regions, strict_queue)])
    found, expected = np.sum(errors, 0)
    assert found <= 1.03 * expected


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**20))
def test_regions_stay_connected_and_numbered_in_order(height: int, width: int, count: int, seed: int):
    image = np.random.default_rng(seed).integers(0, 4, (height, width, 3)).astype(np.uint8) * 60
    labels = np.arange(height * width).reshape(height, width)
    merged = merge_regions(image, labels, count)
    assert merged.max() + 1 == min(count, height * width)
    assert np.array_equal(merged, canonical(merged))
    assert all(ndimage.label(merged == region)[1] == 1 for region in range(merged.max() + 1))


def test_bad_arguments_are_named():
    image, labels = np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), int)
    with pytest.raises(ValueError, match='count must be an integer of at least 1, got 0'):
        merge_regions(image, labels, 0)
    with pytest.raises(ValueError, match='regions must have the size of the image'):
        merge_regions(image, labels[:, :2], 1)


@pytest.mark.parametrize('labels', [[[0, 2], [2, 2]], [[-1, 0], [0, 0]], [[10**9, 0], [0, 0]]])
def test_labels_with_gaps_are_refused(labels: list[list[int]]):
    with pytest.raises(ValueError, match='^labels must be numbered from 0 without gaps'):
        merge_regions(np.zeros((2, 2, 3), np.uint8), np.array(labels), 1)
