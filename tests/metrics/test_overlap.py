"""Undersegmentation error, achievable accuracy and the majority classes: by hand, and against scikit-image's contingency table."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dht_mm.metrics import achievable_accuracy, best_overlap_agreement, majority_confusion, mean_iou, undersegmentation_error

HALVES = np.array([[0, 0, 1, 1]] * 4)
QUARTERS = np.array([[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2)
LOPSIDED = np.array([[0, 1, 1, 1]] * 4)
VOID = np.where(LOPSIDED == 0, 255, HALVES)


def random_maps(seed: int = 0, shape: tuple[int, int] = (9, 11)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 7, shape), random.integers(0, 4, shape)


@pytest.mark.parametrize(('labels', 'truth', 'error', 'accuracy'), [
    (HALVES, HALVES, 0, 1),
    (QUARTERS, HALVES, 0, 1),
    (LOPSIDED, HALVES, 8 / 16, 12 / 16),  # 4 pixels of region 1 lie in segment 0: they leak out of it, and it leaks into segment 0
    (np.zeros((4, 4), int), HALVES, 1, 1 / 2),
    (np.zeros((4, 4), int), QUARTERS, 1, 1 / 4),
    (HALVES, QUARTERS, 1, 1 / 2),
    (np.zeros((1, 1), int), np.zeros((1, 1), int), 0, 1),
])
def test_by_hand(labels: np.ndarray, truth: np.ndarray, error: float, accuracy: float):
    assert undersegmentation_error(labels, truth) == error
    assert achievable_accuracy(labels, truth) == accuracy


def test_ignored_pixels_are_in_no_region_and_no_segment():
    assert undersegmentation_error(LOPSIDED, VOID, ignore_index=255) == 8 / 12
    assert achievable_accuracy(LOPSIDED, VOID, ignore_index=255) == 8 / 12
    nothing = np.full((4, 4), 255)
    assert np.isnan(undersegmentation_error(LOPSIDED, nothing, ignore_index=255))
    assert achievable_accuracy(LOPSIDED, np.stack([nothing, HALVES]), ignore_index=255) == 12 / 16


def test_several_segmentations_give_the_mean():
    assert undersegmentation_error(LOPSIDED, [HALVES, LOPSIDED]) == 4 / 16
    assert achievable_accuracy(torch.from_numpy(LOPSIDED), np.stack([HALVES, LOPSIDED])) == 14 / 16


@pytest.mark.parametrize('seed', range(3))
def test_against_scikit_image(seed: int):
    contingency_table = pytest.importorskip('skimage.metrics').contingency_table
    labels, truth = random_maps(seed)
    table = contingency_table(labels, truth, ignore_labels=[]).toarray()  # pixels, or shares of them if normalised
    inside, size = table, table.sum(1, keepdims=True)
    assert undersegmentation_error(labels, truth) == pytest.approx(np.minimum(inside, size - inside).sum() / labels.size, abs=1e-12)
    assert achievable_accuracy(labels, truth) == pytest.approx(table.max(1).sum() / labels.size, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**20))
def test_invariants(seed: int):
    labels, truth = random_maps(seed)
    error, accuracy = undersegmentation_error(labels, truth), achievable_accuracy(labels, truth)
    assert 1 - accuracy <= error + 1e-12 and error <= 2 * (1 - accuracy) + 1e-12  # each leaked pixel counts in its region once or twice
    renamed = np.random.default_rng(seed).permutation(1000)[labels], truth * 50 + 3
    assert (undersegmentation_error(*renamed), achievable_accuracy(*renamed)) == (error, accuracy)
    finer = labels * 4 + truth
    assert (undersegmentation_error(finer, truth), achievable_accuracy(finer, truth)) == (0, 1)


def test_agreement_by_hand():
    assert best_overlap_agreement(QUARTERS, 9 - QUARTERS) == 1
    assert best_overlap_agreement(QUARTERS, HALVES) == best_overlap_agreement(HALVES, QUARTERS) == 1 / 2
    assert best_overlap_agreement(HALVES, LOPSIDED) == 12 / 16


def test_majority_confusion_by_hand():
    confusion = majority_confusion(LOPSIDED, HALVES, 3)
    assert confusion.tolist() == [[4, 0, 0], [4, 8, 0], [0, 0, 0]]
    assert mean_iou(confusion) == pytest.approx((4 / 8 + 8 / 12) / 2)
    assert majority_confusion(LOPSIDED, VOID, 2).tolist() == [[0, 0], [4, 8]]
    assert np.isnan(mean_iou(torch.zeros(2, 2, dtype=torch.int64)))


@pytest.mark.parametrize(('labels', 'truths', 'error', 'message'), [
    (HALVES[None], HALVES, ValueError, r'labels must be a non-empty label map \[H, W\], got shape \(1, 4, 4\)'),
    (HALVES[:0], HALVES[:0], ValueError, r'labels must be a non-empty label map \[H, W\], got shape \(0, 4\)'),
    (HALVES * 1.0, HALVES, TypeError, 'labels must be integers, got torch.float64'),
    (HALVES - 1, HALVES, ValueError, 'labels must not be negative, got -1'),
    (HALVES, HALVES > 0, TypeError, 'truths must be integers, got torch.bool'),
    (HALVES, HALVES[1:], ValueError, r'truths must be .* of the size of labels, \(4, 4\), got \(3, 4\)'),
    (HALVES, [], ValueError, 'truths must hold at least one segmentation, got none'),
    (HALVES, [HALVES, HALVES[1:]], ValueError, r'got \(3, 4\)'),
])
@pytest.mark.parametrize('score', [undersegmentation_error, achievable_accuracy])
def test_bad_maps_are_named(score, labels, truths, error: type, message: str):
    with pytest.raises(error, match=message):
        score(labels, truths)


def test_a_label_that_is_no_class_is_named():
    with pytest.raises(ValueError, match='truth must be below num_classes=1 or ignore_index=255, got 1'):
        majority_confusion(LOPSIDED, HALVES, 1)
