"""Prefix tokens stand in front of each image's regions, and come back out."""

import pytest
import torch
from partitions import random_case

from dht_mm.embedding import join, sequence_offsets, split


@pytest.mark.parametrize('num_prefix', [0, 1, 3])
def test_order_is_prefix_then_regions_image_by_image(num_prefix: int):
    _, partition = random_case(batch=3)
    prefix, regions = torch.randn(num_prefix, 4), torch.randn(partition.total_regions, 4)
    sequence, offsets = join(prefix, regions, partition), sequence_offsets(partition, num_prefix)
    assert offsets.dtype == torch.int32 and offsets[-1] == len(sequence)
    for image in range(3):
        rows = regions[partition.offsets[image]:partition.offsets[image + 1]]
        assert torch.equal(sequence[offsets[image]:offsets[image + 1]], torch.cat([prefix, rows]))
    found_prefix, found_regions = split(sequence, partition, num_prefix)
    assert torch.equal(found_prefix, prefix.expand(3, -1, -1)) and torch.equal(found_regions, regions)


def test_gradient():
    _, partition = random_case(seeds=3)
    prefix, regions = (torch.randn(rows, 2, dtype=torch.float64, requires_grad=True) for rows in (2, partition.total_regions))

    def there_and_back(prefix, regions):
        sequence = join(prefix, regions, partition)
        return sequence, *split(sequence.sin(), partition, 2)

    assert torch.autograd.gradcheck(there_and_back, (prefix, regions))


def test_half_precision_regions_join_a_float32_sequence():
    _, partition = random_case()
    assert join(torch.zeros(1, 4), torch.zeros(partition.total_regions, 4).bfloat16(), partition).dtype == torch.float32
