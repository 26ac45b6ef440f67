"""Scores near the borders of classes, against hand-computed cases and plain loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dht_mm.metrics import boundary_overlap, class_overlap, label_band, trimap_overlap

# A square of class 1 in class 0, and the same one column further right.
TRUE = torch.zeros(1, 6, 6, dtype=torch.long)
TRUE[:, 1:5, 1:5] = 1
SHIFTED = TRUE.roll(1, 2)


def maps_of(seed, classes=3, ignored=True):
    random = torch.Generator().manual_seed(seed)
    height, width = torch.randint(1, 8, (2,), generator=random).tolist()
    prediction, labels = torch.randint(0, classes, (2, 2, height, width), generator=random)
    hidden = torch.rand(labels.shape, generator=random) < 0.2
    return prediction, labels.masked_fill(hidden, 255) if ignored else labels


def slow_band(labels, known, width, frame):
    """For each pixel, a look at each pixel around it."""
    band = torch.zeros_like(known)
    images, height, tall = labels.shape
    for image in range(images):
        for y in range(height):
            for x in range(tall):
                for v in range(y - width, y + width + 1):
                    for u in range(x - width, x + width + 1):
                        inside = 0 <= v < height and 0 <= u < tall
                        other = bool(known[image, v, u]) and labels[image, v, u] != labels[image, y, x] if inside else frame
                        band[image, y, x] |= bool(known[image, y, x]) and bool(other)
    return band


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.booleans())
def test_band_is_what_a_look_at_each_neighbour_gives(seed, width, frame):
    _, labels = maps_of(seed)
    known = labels != 255
    assert torch.equal(label_band(labels, known, width, frame), slow_band(labels, known, width, frame))


def test_band_of_one_pixel_touches_the_border_from_both_sides():
    row = torch.tensor([[[0, 0, 0, 1, 1, 1]]])
    known = torch.ones_like(row, dtype=torch.bool)
    assert label_band(row, known, 1, frame=False).tolist() == [[[False, False, True, True, False, False]]]
    assert label_band(row, known, 2, frame=False).sum() == 4


def test_boundary_overlap_of_a_shifted_square():
    """Class 1: two rings of 12 pixels share 6. Class 0: two rims of 20, at the frame or at the square, share 16."""
    overlap = boundary_overlap(SHIFTED, TRUE, 2, width=1)
    assert [field.tolist() for field in overlap] == [[16, 6], [20, 12], [20, 12]]
    assert overlap.iou().tolist() == pytest.approx([16 / 24, 6 / 18]) and overlap.mean_iou() == pytest.approx(50)


def test_boundary_overlap_beside_ignored_pixels():
    """Without the last column the squares end in the unknown: rings of 10 and 8 pixels, the right side is no boundary."""
    labels = TRUE.clone()
    labels[:, :, 5] = 255
    overlap = boundary_overlap(SHIFTED, labels, 2, width=1)
    assert (overlap.shared[1], overlap.predicted[1], overlap.true[1]) == (6, 8, 10)


def test_boundary_as_wide_as_the_image_is_iou():
    prediction, labels = maps_of(3, ignored=False)
    assert all(torch.equal(*fields) for fields in zip(
        boundary_overlap(prediction, labels, 3, width=8), class_overlap(prediction, labels, 3), strict=True))


def test_trimap_overlap_of_a_shifted_square():
    """The band is all but the inner 2 by 2 pixels of the square: 12 true pixels of class 1, 12 predicted, 8 of them right."""
    overlap = trimap_overlap(SHIFTED, TRUE, 2, width=1)
    assert [field.tolist() for field in overlap] == [[16, 8], [20, 12], [20, 12]]
    assert overlap.mean_iou() == pytest.approx(100 * (16 / 24 + 8 / 16) / 2)
    assert overlap.accuracy() == pytest.approx(100 * 24 / 32)


def test_trimap_without_a_border_has_no_score():
    overlap = trimap_overlap(SHIFTED, torch.ones_like(TRUE), 2, width=5)
    assert not overlap.true.any() and overlap.mean_iou() != overlap.mean_iou()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_predictions_on_ignored_pixels_change_nothing(seed, width):
    prediction, labels = maps_of(seed)
    other = torch.where(labels == 255, 254 - prediction, prediction)  # not even a class
    for score in (boundary_overlap, trimap_overlap):
        assert all(torch.equal(*fields) for fields in zip(
            score(prediction, labels, 3, width), score(other, labels, 3, width), strict=True))


@pytest.mark.parametrize('score', [boundary_overlap, trimap_overlap])
def test_an_ignored_class_is_ignored_in_the_labels_alone(score):
    """A class that is ignored does not count where it is true; where another class is true, predicting it is wrong."""
    labels = TRUE.clone()
    labels[:, :, 5] = 2
    wrong = torch.full_like(TRUE, 2)
    assert all(torch.equal(*fields) for fields in zip(
        score(SHIFTED, labels, 3, 1, ignore_index=2), score(SHIFTED, labels.masked_fill(labels == 2, 255), 3, 1), strict=True))
    overlap = score(wrong, labels, 3, 1, ignore_index=2)
    assert not overlap.shared.any() and overlap.true[:2].all() and not overlap.true[2]


def test_a_class_in_neither_map_is_not_in_the_mean_and_perfect_is_100():
    assert boundary_overlap(TRUE, TRUE, 7, 1).mean_iou() == trimap_overlap(TRUE, TRUE, 7, 1).mean_iou() == 100


@pytest.mark.parametrize('score', [boundary_overlap, trimap_overlap])
def test_devices_count_the_same(score, device):
    prediction, labels = maps_of(5)
    there = score(prediction.to(device), labels.to(device), 3, 2)
    assert all(torch.equal(*fields) for fields in zip(
        (field.cpu() for field in there), score(prediction, labels, 3, 2), strict=True))


@pytest.mark.parametrize('score', [boundary_overlap, trimap_overlap])
def test_refuses_bad_maps(score):
    with pytest.raises(ValueError, match=r'prediction.*\(1, 6, 6\).*\(1, 6, 5\)'):
        score(TRUE[:, :, 1:], TRUE, 2, 1)
    with pytest.raises(ValueError, match='labels.* got 9'):
        score(TRUE, TRUE + 8, 2, 1)
    with pytest.raises(ValueError, match='got -1'):
        score(TRUE - 1, TRUE, 2, 1)
    with pytest.raises(TypeError, match='float'):
        score(TRUE, TRUE.float(), 2, 1)
    for width in (0, 1.5, True):
        with pytest.raises(ValueError, match=f'width.* got {width}'):
            score(TRUE, TRUE, 2, width)
