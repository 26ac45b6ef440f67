"""Small partitions for the tests of the losses."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dht_mm.structures import Partition


def in_raster_order(labels: Tensor) -> Tensor:
    """The same groups of one label map ``[H, W]``, numbered by their first pixels."""
    order = list(dict.fromkeys(labels.flatten().tolist()))
    return torch.tensor([order.index(label) for label in labels.flatten().tolist()]).view(labels.shape)


@pytest.fixture(scope='session')
def partition_of() -> Callable[[Tensor], Partition]:
    """Makes the partition of label maps ``[B, H, W]`` (or nested lists) with any numbering."""

    def build(labels: Tensor | list) -> Partition:
        labels = torch.as_tensor(labels)
        numbered = torch.stack([in_raster_order(one) for one in labels])
        return Partition.from_labels(numbered, torch.zeros(len(labels), 1, *labels.shape[1:]))

    return build


@pytest.fixture
def scene(partition_of: Callable[[Tensor], Partition]) -> tuple[Partition, Tensor]:
    """Three images of 6 by 7 pixels with their class maps: about nine regions each, classes 0 to 4 and the ignored 255."""
    random = torch.Generator().manual_seed(0)
    regions = torch.randint(9, (3, 6, 7), generator=random)
    labels = torch.randint(6, (3, 6, 7), generator=random)
    return partition_of(regions), labels.masked_fill(labels == 5, 255)
