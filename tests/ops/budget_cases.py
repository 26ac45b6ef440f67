"""Partitions to merge, their single images, and what every merged partition must be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from region_cases import needs_library
from scipy import ndimage
from torch import Tensor

from dht_mm.structures import Partition

KERNELS = ('gaussian', 'cosine', 'tanimoto')
each_backend = pytest.mark.parametrize('backend', ['torch', pytest.param('ext', marks=needs_library)])


def pieces_of(values: np.ndarray) -> np.ndarray:
    """4-connected pieces of equal value, numbered by their first pixels."""
    pieces = np.zeros_like(values)
    for value in np.unique(values):
        labels, _ = ndimage.label(values == value)
        pieces[values == value] = labels[values == value] + pieces.max()
    _, first, inverse = np.unique(pieces, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].reshape(values.shape)


def draw_partition(seed: int, batch: int = 3, height: int = 11, width: int = 9) -> Partition:
    """Connected pieces of random maps of few values, fewer in earlier images; colours repeat, so that weights tie."""
    random = np.random.default_rng(seed)
    maps = [pieces_of(random.integers(0, 2 + image, (height, width)) // int(random.integers(1, 3))) for image in range(batch)]
    labels = torch.from_numpy(np.stack(maps))
    partition = Partition.from_labels(labels, torch.zeros(batch, 1, height, width))
    colors = torch.from_numpy(np.round(2 * random.standard_normal((partition.total_regions, 1 + seed % 3))) / 2).float()
    return replace(partition, color=colors)


def image_of(partition: Partition, image: int) -> Partition:
    """One image of a batch as a partition of its own."""
    rows = slice(int(partition.offsets[image]), int(partition.offsets[image + 1]))
    offsets = torch.tensor([0, rows.stop - rows.start], dtype=torch.int32, device=partition.offsets.device)
    return Partition(
        partition.labels[image:image + 1], partition.num_regions[image:image + 1], offsets, partition.bbox[rows], partition.size[rows],
        partition.mean, partition.color[rows])


def of_images(partition: Partition, parent: Tensor) -> list[list[int]]:
    """New labels of each image's regions, counted from 0 in each."""
    split = parent.split(partition.num_regions.tolist())
    return [(rows - rows.min()).tolist() for rows in split]


def check_valid(partition: Partition, parent: Tensor) -> None:
    """Merged regions are connected, canonical and numbered image after image."""
    merged = parent[partition.packed_labels]
    assert torch.equal(merged.unique(), torch.arange(int(parent.max()) + 1))
    first = [int((merged.flatten() == row).nonzero()[0]) for row in range(int(parent.max()) + 1)]
    assert first == sorted(first)
    for row in range(len(first)):
        assert max(ndimage.label((merged[image] == row).numpy())[1] for image in range(len(merged))) == 1
    assert sum(len(set(rows)) for rows in of_images(partition, parent)) == len(first), 'regions of two images were united'
