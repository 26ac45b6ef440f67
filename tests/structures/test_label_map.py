"""Class counts of label maps."""

import pytest
import torch

from dht_mm.structures.label_map import class_counts, pixel_classes


def test_ignored_pixels_get_a_column_of_their_own_unless_they_are_a_class():
    labels = torch.tensor([[[0, 255, 2]]])
    assert pixel_classes(labels, 3).tolist() == [[[0, 3, 2]]]
    assert pixel_classes(labels.clamp_max(2), 3, ignore_index=2).tolist() == [[[0, 2, 2]]]
    assert labels.tolist() == [[[0, 255, 2]]]  # the input is left as it is


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_integer_types_give_int64(dtype):
    classes = pixel_classes(torch.tensor([[[1, 0]]], dtype=dtype), 2)
    assert classes.dtype == torch.int64 and classes.tolist() == [[[1, 0]]]


def test_counts_equal_a_loop_and_sum_to_the_group_sizes():
    random = torch.Generator().manual_seed(0)
    rows, classes = torch.randint(6, (2, 9, 5), generator=random), torch.randint(4, (2, 9, 5), generator=random)
    counts = class_counts(rows, classes, 7, 3)
    assert counts.tolist() == [[int(((rows == row) & (classes == k)).sum()) for k in range(4)] for row in range(7)]
    assert torch.equal(counts.sum(1), torch.bincount(rows.flatten(), minlength=7))


@pytest.mark.parametrize(('labels', 'error'), [
    (torch.zeros(1, 2, 2), TypeError), (torch.zeros(1, 2, 2, dtype=torch.bool), TypeError),
    (torch.zeros(2, 2).long(), ValueError), (torch.full((1, 2, 2), 3), ValueError), (torch.full((1, 2, 2), -255), ValueError)])
def test_refuses_what_is_no_label_map(labels, error):
    with pytest.raises(error, match='labels must'):
        pixel_classes(labels, 3)
