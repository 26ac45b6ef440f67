"""What every partition must be, whatever made it."""

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from dht_mm.structures import Partition

INTEGERS = ('labels', 'num_regions', 'offsets', 'bbox', 'size')


def count_pieces(labels: np.ndarray) -> int:
    """Number of 4-connected pieces of equal label."""
    index = np.arange(labels.size).reshape(labels.shape)
    right, below = labels[:, :-1] == labels[:, 1:], labels[:-1] == labels[1:]
    first = np.concatenate([index[:, :-1][right], index[:-1][below]])
    second = np.concatenate([index[:, 1:][right], index[1:][below]])
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(labels.size, labels.size))
    return connected_components(graph, directed=False, return_labels=False)


def check_partition(partition: Partition, images: Tensor, hidden_channels: int, *, connected: bool = True) -> None:
    """Labels are canonical and connected, and every field is that of the labels."""
    batch, channels, height, width = images.shape
    assert all(getattr(partition, name).dtype == torch.int32 for name in INTEGERS)
    assert partition.labels.shape == (batch, height, width)
    assert partition.offsets.tolist() == [0, *np.cumsum(partition.num_regions.tolist())]
    total = int(partition.offsets[-1])
    assert partition.mean.shape == (total, hidden_channels) and partition.color.shape == (total, channels)
    assert partition.mean.isfinite().all() and partition.color.isfinite().all()
    for image, labels in enumerate(partition.labels.numpy()):
        rows = slice(int(partition.offsets[image]), int(partition.offsets[image + 1]))
        values, first, counts = np.unique(labels, return_index=True, return_counts=True)
        assert values.tolist() == list(range(rows.stop - rows.start)) and (np.diff(first) > 0).all(), 'labels are not canonical'
        assert partition.size[rows].tolist() == counts.tolist() and counts.sum() == height * width
        y, x = np.indices(labels.shape)
        box = np.tile([height, width, -1, -1], (len(values), 1))
        for column, (reduce, axis) in enumerate(((np.minimum, y), (np.minimum, x), (np.maximum, y), (np.maximum, x))):
            reduce.at(box[:, column], labels.ravel(), axis.ravel())
        assert partition.bbox[rows].tolist() == box.tolist()
        assert not connected or count_pieces(labels) == len(values), 'a region is not 4-connected'


def fields_of(partition: Partition, image: int) -> list[Tensor]:
    """All that a partition says about one image of a batch."""
    rows = slice(int(partition.offsets[image]), int(partition.offsets[image + 1]))
    return [partition.labels[image], partition.num_regions[image], *(
        getattr(partition, name)[rows] for name in ('bbox', 'size', 'mean', 'color'))]


def same_bits(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
