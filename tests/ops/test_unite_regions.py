"""Labels, sizes, boxes and means of united regions."""

import pytest
import torch
from budget_cases import draw_partition, each_backend
from torch import Tensor

from dht_mm.ops import unite_regions, united_mean, use_backend
from dht_mm.structures import Partition

LABELS = torch.tensor([[[0, 0, 1], [2, 2, 1]], [[0, 1, 1], [0, 1, 2]]])
PARENT, OFFSETS = torch.tensor([0, 1, 0, 2, 2, 3]).int(), torch.tensor([0, 2, 4]).int()


def small(device: str) -> tuple[Partition, Tensor, Tensor]:
    return Partition.from_labels(LABELS, torch.zeros(2, 1, 2, 3)).to(device), PARENT.to(device), OFFSETS.to(device)


@each_backend
def test_united_regions_by_hand(device: str, backend: str):
    bare, parent, offsets = small(device)
    with use_backend(backend):
        labels, size, bbox = unite_regions(bare.labels, bare.offsets, bare.size, bare.bbox, parent, offsets)
        mean = torch.tensor([[1.0], [2.0], [4.0], [3.0], [8.0], [0.1]], device=device)
        united = united_mean(mean, bare.offsets, bare.size, parent, size, 6)
    assert labels.tolist() == [[[0, 0, 1], [0, 0, 1]], [[0, 0, 0], [0, 0, 1]]]
    assert bbox.tolist() == [[0, 0, 1, 1], [0, 2, 1, 2], [0, 0, 1, 2], [1, 2, 1, 2]]
    assert size.tolist() == [4, 2, 5, 1]
    torch.testing.assert_close(united.cpu(), torch.tensor([[2.5], [2.0], [6.0], [0.1]]))


@each_backend
def test_regions_that_stay_alone_keep_their_mean_bit_for_bit(device: str, backend: str):
    partition = draw_partition(1).to(device)
    mean = torch.randn(partition.total_regions, 5, device=device) * 1e3
    with use_backend(backend):
        kept = united_mean(mean, partition.offsets, partition.size, torch.arange(len(mean), device=device).int(), partition.size, 99)
    assert torch.equal(kept, mean)


def test_gradcheck_of_the_means():
    bare, parent, offsets = small('cpu')
    size = unite_regions(bare.labels, bare.offsets, bare.size, bare.bbox, parent, offsets)[1]
    mean = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda leaf: united_mean(leaf, bare.offsets, bare.size, parent, size, 6), mean)


@each_backend
def test_gradient_of_the_means(device: str, backend: str):
    bare, parent, offsets = small(device)
    size = torch.tensor([4, 2, 5, 1], device=device).int()
    mean = torch.randn(6, 2, device=device, requires_grad=True)
    weight = torch.randn(4, 2, device=device)
    with use_backend(backend):
        found, = torch.autograd.grad((united_mean(mean, bare.offsets, bare.size, parent, size, 6) * weight).sum(), mean)
    torch.testing.assert_close(found, weight[parent.long()] * (bare.size / size[parent.long()])[:, None])


def test_bad_shapes_are_named():
    bare, parent, offsets = small('cpu')
    with pytest.raises(ValueError, match=r'size, parent, bbox and merged_offsets must be .* \(5,\)'):
        unite_regions(bare.labels, bare.offsets, bare.size, bare.bbox, parent[:5], offsets)
    with pytest.raises(ValueError, match=r'mean, size and parent must be .* \(4, 2\)'):
        united_mean(torch.zeros(4, 2), bare.offsets, bare.size, parent, bare.size, 6)
