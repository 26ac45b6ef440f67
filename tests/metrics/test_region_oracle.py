"""The ceiling of a partition."""

import pytest
import torch
from partitions import random_labels

from dht_mm.metrics import class_overlap, region_majority

REGIONS = torch.tensor([[[0, 0, 1], [0, 2, 1]]])
LABELS = torch.tensor([[[0, 0, 1], [1, 255, 0]]])


def test_majority_of_hand_made_regions(device):
    """Two votes against one; a tie, which the smaller class wins; and a region without a vote."""
    assert region_majority(REGIONS.to(device), LABELS.to(device), 2).tolist() == [[[0, 0, 0], [0, 0, 0]]]
    assert region_majority(REGIONS, torch.tensor([[[1, 0, 1], [1, 255, 1]]]), 2).tolist() == [[[1, 1, 1], [1, 0, 1]]]


def test_an_ignored_class_has_no_vote():
    assert region_majority(REGIONS, torch.tensor([[[0, 0, 0], [1, 0, 2]]]), 3, ignore_index=0).tolist() == [[[1, 1, 2], [1, 0, 2]]]


def test_regions_of_different_images_are_apart():
    regions, labels = REGIONS.repeat(2, 1, 1), torch.cat([torch.zeros_like(LABELS), torch.ones_like(LABELS)])
    assert torch.equal(region_majority(regions, labels, 2), labels)


def test_no_painting_of_the_regions_gets_more_pixels_right():
    random = torch.Generator().manual_seed(0)
    regions = random_labels(2, 20, 30, 12, random)
    labels = torch.randint(0, 3, regions.shape, generator=random).masked_fill(torch.rand(regions.shape, generator=random) < 0.1, 255)
    best = region_majority(regions, labels, 3)
    for image in range(2):
        for region in range(int(regions[image].max()) + 1):
            mine = regions[image] == region
            assert len(best[image][mine].unique()) == 1
            assert (best == labels)[image][mine].sum() == max((labels[image][mine] == label).sum() for label in range(3))


def test_single_pixels_are_perfect_and_one_region_is_the_most_frequent_class():
    labels = torch.tensor([[[2, 1], [1, 0]]])
    assert torch.equal(region_majority(torch.arange(4).view(1, 2, 2) * 5, labels, 3), labels)
    best = region_majority(torch.zeros_like(labels), labels, 3)
    assert (best == 1).all() and class_overlap(best, labels, 3).accuracy() == 50


@pytest.mark.parametrize(('regions', 'labels', 'error'), [
    (REGIONS.float(), LABELS, TypeError), (REGIONS - 1, LABELS, ValueError),
    (REGIONS[:, :, 1:], LABELS, ValueError), (REGIONS, LABELS + 3, ValueError)])
def test_refuses_bad_maps(regions, labels, error):
    with pytest.raises(error, match='regions|labels'):
        region_majority(regions, labels, 2)
