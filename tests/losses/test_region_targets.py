"""Region targets: overlap of each region with each class mask of its image."""

import numpy as np
import pytest
import torch

from dht_mm.losses import region_targets
from dht_mm.structures import Partition


def loop_targets(partition, labels, num_classes, ignore_index):
    """The definition, one region and one class at a time."""
    rows = []
    for image, region_map in enumerate(partition.labels):
        for region in range(int(partition.num_regions[image])):
            inside = region_map == region
            masks = [labels[image] == k for k in range(num_classes)]
            iou = torch.tensor([(inside & mask).sum() / (inside | mask).sum() for mask in masks])
            rows.append(iou / iou.sum() if iou.sum() > 0 else iou)
    return torch.stack(rows)


def test_golden(shared):
    golden = np.load(shared / 'golden' / 'losses_96x160.npz')
    seg, labels = (torch.tensor(golden[name])[None] for name in ('seg', 'labels'))
    targets = region_targets(Partition.from_labels(seg, torch.zeros(1, 1, 96, 160)), labels, 12, ignore_index=0)
    assert (targets - torch.tensor(golden['region_targets'])).abs().max() < 1e-6


@pytest.mark.parametrize('ignore_index', [255, 0, 3])
def test_equals_the_definition_in_loops(scene, ignore_index):
    partition, labels = scene
    if ignore_index != 255:
        labels = labels.masked_fill(labels == 255, ignore_index)
    expected = loop_targets(partition, labels, 5, ignore_index)
    assert torch.allclose(region_targets(partition, labels, 5, ignore_index), expected, atol=1e-6)


def test_by_hand(partition_of):
    partition = partition_of([[[0, 0, 1], [0, 0, 1]]])
    labels = torch.tensor([[[0, 0, 1], [0, 1, 1]]])
    # Region 0 (4 pixels): 3/4 with class 0, 1/6 with class 1. Region 1 (2 pixels): 0 with class 0, 2/3 with class 1.
    expected = torch.tensor([[9 / 11, 2 / 11, 0], [0, 1, 0]])
    assert torch.allclose(region_targets(partition, labels, 3), expected)


def test_ignored_pixels_outside_the_classes_are_in_no_class(partition_of):
    partition = partition_of([[[0, 0, 1, 2]]])
    targets = region_targets(partition, torch.tensor([[[0, 255, 255, 1]]]), 2)
    assert targets.tolist() == [[1, 0], [0, 0], [0, 1]]


def test_an_ignored_class_is_counted_as_a_class(partition_of):
    partition = partition_of([[[0, 0, 1, 2]]])
    targets = region_targets(partition, torch.tensor([[[0, 1, 1, 0]]]), 2, ignore_index=1)
    assert torch.allclose(targets, torch.tensor([[0.5, 0.5], [0, 1], [1, 0]]))  # 1/3 with each, then one class only


def test_images_do_not_share_their_masks(scene):
    partition, labels = scene
    last = slice(int(partition.offsets[-2]), None)
    alone = Partition.from_labels(partition.labels[-1:], torch.zeros(1, 1, 6, 7))
    assert torch.equal(region_targets(partition, labels, 5)[last], region_targets(alone, labels[-1:], 5))


@pytest.mark.parametrize('value', [-1, 5, 254])
def test_refuses_labels_out_of_range(scene, value):
    partition, labels = scene
    labels[1, 2, 3] = value
    with pytest.raises(ValueError, match=f'labels.* got {value}'):
        region_targets(partition, labels, 5)


def test_refuses_labels_of_another_size_or_type(scene):
    partition, labels = scene
    with pytest.raises(ValueError, match=r'labels.*\(3, 6, 6\)'):
        region_targets(partition, labels[..., :-1], 5)
    with pytest.raises(TypeError, match='labels.*float32'):
        region_targets(partition, labels.float(), 5)
