"""Regions painted with their mean colour."""

import numpy as np
import pytest
import torch

from dht_mm.structures import Partition
from dht_mm.visualization import paint_mean_color


def test_equals_a_plain_loop_over_regions():
    rng = np.random.default_rng(0)
    image, labels = rng.integers(0, 256, (7, 5, 3), dtype=np.uint8), rng.integers(0, 4, (7, 5))
    expected = np.zeros_like(image)
    for label in np.unique(labels):
        expected[labels == label] = np.rint(image[labels == label].mean(axis=0))
    assert (paint_mean_color(image, labels) == expected).all()


def test_labels_need_not_be_consecutive():
    image = np.random.default_rng(0).integers(0, 256, (2, 4, 3), dtype=np.uint8)
    labels = np.array([[0, 0, 1, 1]] * 2)
    assert (paint_mean_color(image, labels * 1000 - 7) == paint_mean_color(image, labels)).all()


def test_one_pixel_regions_keep_the_image():
    image = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    assert (paint_mean_color(image, np.arange(42).reshape(6, 7)) == image).all()


def test_agrees_with_the_partition():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    partition = Partition.from_labels((torch.arange(8) // 2).expand(1, 6, 8), pixels)
    painted = torch.from_numpy(paint_mean_color(image, partition)).permute(2, 0, 1)
    assert (painted == partition.scatter(partition.mean)[0].round()).all()


def test_size_mismatch_is_named():
    with pytest.raises(ValueError, match='regions must have the size of the image'):
        paint_mean_color(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), int))
