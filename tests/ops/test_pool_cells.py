"""Pooling over cells is average pooling of the painted map, for any size."""

import pytest
import torch
from partitions import random_case

from dht_mm.ops import pool_cells


@pytest.mark.parametrize('height, width', [(16, 16), (13, 17), (1, 9), (8, 1), (1, 1)])
@pytest.mark.parametrize('stride', [1, 4, 16])
def test_equals_painting_and_averaging(height: int, width: int, stride: int):
    _, partition = random_case(height=height, width=width)
    tokens = torch.randn(partition.total_regions, 5, dtype=torch.float64)
    pooled = pool_cells(tokens, partition.labels, partition.offsets, stride)
    expected = torch.nn.functional.avg_pool2d(partition.scatter(tokens), stride, ceil_mode=True, count_include_pad=False)
    # torch leaves out a last cell that would start behind the border, and so do we
    assert pooled.shape == expected.shape == (2, 5, -(-height // stride), -(-width // stride))
    assert torch.allclose(pooled, expected, atol=1e-12)


def test_gradient_to_the_tokens():
    _, partition = random_case(height=6, width=7, seeds=4)
    tokens = torch.randn(partition.total_regions, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda tokens: pool_cells(tokens, partition.labels, partition.offsets, 4), tokens)


def test_bad_input_is_named():
    _, partition = random_case()
    with pytest.raises(ValueError, match='stride .* got 0'):
        pool_cells(torch.zeros(partition.total_regions, 2), partition.labels, partition.offsets, 0)
    with pytest.raises(ValueError, match='tokens'):
        pool_cells(torch.zeros(partition.total_regions), partition.labels, partition.offsets, 4)
