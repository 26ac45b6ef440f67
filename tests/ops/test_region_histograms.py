"""Histograms of positions and derivatives: exact counts, against plain loops."""

import pytest
import torch
from partitions import random_case

from dht_mm.ops import gradient_histogram, position_histogram


@pytest.mark.parametrize('height, width', [(13, 17), (1, 9), (8, 1), (1, 1), (16, 16)])
@pytest.mark.parametrize('grid', [(1, 1), (4, 4), (3, 7), (20, 20)])
def test_positions_are_counted_by_cell(height: int, width: int, grid: tuple[int, int]):
    image, partition = random_case(height=height, width=width)
    counts = position_histogram(partition.labels, partition.offsets, partition.total_regions, grid)
    expected = torch.zeros(partition.total_regions, *grid, dtype=torch.int32)
    for index, y, x in torch.cartesian_prod(*(torch.arange(length) for length in partition.labels.shape)).tolist():
        expected[partition.packed_labels[index, y, x], grid[0] * y // height, grid[1] * x // width] += 1
    assert counts.dtype == torch.int32 and torch.equal(counts, expected.flatten(1))
    assert torch.equal(counts.sum(1), partition.size.long())


def test_derivatives_are_counted_by_bin():
    _, partition = random_case()
    gradient = torch.randn(2, 2, 13, 17, generator=torch.Generator().manual_seed(1))
    counts = gradient_histogram(gradient, partition.labels, partition.offsets, partition.total_regions, 6)
    bins = ((gradient.clamp(-1, 1) + 1) * 3).floor().clamp_max(5).long()
    expected = torch.zeros(partition.total_regions, 6, 6, dtype=torch.int32)
    for index, y, x in torch.cartesian_prod(*(torch.arange(length) for length in partition.labels.shape)).tolist():
        expected[partition.packed_labels[index, y, x], bins[index, 0, y, x], bins[index, 1, y, x]] += 1
    assert torch.equal(counts, expected.flatten(1)) and torch.equal(counts.sum(1), partition.size.long())


@pytest.mark.parametrize('bins', [1, 8, 14, 17, 33])
def test_derivatives_at_the_ends_and_beyond_fall_into_the_outer_bins(bins: int):
    labels, offsets = torch.zeros(1, 1, 6, dtype=torch.int32), torch.tensor([0, 1])
    line = torch.tensor([-100.0, -1.0, 0.0, -1e-9, 1.0, 100.0])
    counts = gradient_histogram(line.expand(1, 2, 1, 6), labels, offsets, 1, bins).view(bins, bins).diagonal()
    expected = torch.zeros(bins, dtype=torch.int32)
    for index in (0, 0, bins // 2, bins // 2, bins - 1, bins - 1):  # in float32, -1e-9 + 1 is 1
        expected[index] += 1
    assert torch.equal(counts, expected)


def test_histograms_pass_no_gradient():
    _, partition = random_case()
    gradient = torch.zeros(2, 2, 13, 17, requires_grad=True)
    assert not gradient_histogram(gradient, partition.labels, partition.offsets, partition.total_regions, 6).requires_grad


def test_bad_input_is_named():
    _, partition = random_case()
    rest = partition.labels, partition.offsets, partition.total_regions
    with pytest.raises(ValueError, match='grid_x .* got -1'):
        position_histogram(*rest, (3, -1))
    with pytest.raises(ValueError, match='grid_y .* got 2.0'):
        position_histogram(*rest, (2.0, 3))
    with pytest.raises(ValueError, match='bins .* got True'):
        gradient_histogram(torch.zeros(2, 2, 13, 17), *rest, True)
    with pytest.raises(ValueError, match=r'gradient .* got \(2, 1, 13, 17\)'):
        gradient_histogram(torch.zeros(2, 1, 13, 17), *rest, 4)
