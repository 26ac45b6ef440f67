"""The hard merge: against loops, what it promises, and which merges it prefers."""

import numpy as np
import pytest
import slow_reference
import torch
from budget_cases import check_valid, draw_partition, image_of, of_images
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dht_mm.ops import hard_merge
from dht_mm.ops.reference.code_length import code_length, pixel_moments
from dht_mm.structures import Partition


def draw_image(partition: Partition, seed: int = 0, channels: int = 3) -> Tensor:
    """Noise around a colour of each region."""
    generator = torch.Generator().manual_seed(seed)
    colors = torch.randn(partition.total_regions, channels, generator=generator)
    return partition.scatter(colors) + 0.3 * torch.randn(len(partition), channels, *partition.labels.shape[1:], generator=generator)


def hard(partition: Partition, target: int, image: Tensor | None = None) -> Tensor:
    image = draw_image(partition) if image is None else image
    parent, offsets = hard_merge(image, partition.labels, partition.offsets, partition.size, target)
    counts = [len(set(rows)) for rows in of_images(partition, parent)]
    assert offsets.tolist() == [0, *np.cumsum(counts)] and parent.dtype == offsets.dtype == torch.int32
    return parent


def strips(widths: list[int], values: list[float], noise: list[float] | None = None) -> tuple[Partition, Tensor]:
    """Upright strips of two rows, each alternating around its value."""
    labels = torch.arange(len(widths)).repeat_interleave(torch.tensor(widths)).expand(1, 2, -1)
    around = torch.tensor([[[[1.0], [-1.0]]]]) * torch.tensor(noise or [0.0] * len(widths))[labels]
    image = torch.tensor(values)[labels][:, None] + around
    return Partition.from_labels(labels, image), image


@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('seed', range(4))
def test_equals_the_slow_reference(seed: int, channels: int):
    partition = draw_partition(seed, batch=2, height=8, width=7)
    image = draw_image(partition, seed, channels)
    for target in (1, 4, 13):
        parent = hard(partition, target, image)
        check_valid(partition, parent)
        for index, found in enumerate(of_images(partition, parent)):
            assert found == slow_reference.hard_merge(partition.labels[index].numpy(), image[index].double().numpy(), target)


@pytest.mark.parametrize('target', [1, 2, 7, 25, 1000])
@pytest.mark.parametrize('seed', range(3))
def test_leaves_exactly_the_target_of_larger_partitions(seed: int, target: int):
    partition = draw_partition(seed)
    parent = hard(partition, target)
    check_valid(partition, parent)
    for before, after in zip(partition.num_regions.tolist(), of_images(partition, parent), strict=True):
        assert len(set(after)) == min(before, target)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 4), st.booleans())
def test_any_merged_partition_is_connected_canonical_and_within_its_target(
        seed: int, height: int, width: int, target: int, channels: int, ties: bool):
    partition = draw_partition(seed, batch=2, height=height, width=width)
    image = draw_image(partition, seed, channels)
    parent = hard(partition, target, image.sign() if ties else image)
    check_valid(partition, parent)
    assert [len(set(rows)) for rows in of_images(partition, parent)] == partition.num_regions.clamp_max(target).tolist()


@pytest.mark.parametrize('target', [2, 9])
def test_does_not_see_the_rest_of_the_batch(target: int):
    partition = draw_partition(3)
    image = draw_image(partition)
    for index, expected in enumerate(of_images(partition, hard(partition, target, image))):
        assert hard(image_of(partition, index), target, image[index:index + 1]).tolist() == expected


def test_takes_the_nearest_neighbours_first():
    """The last two are nearest (the first and the last are no neighbours), and together then cost more."""
    partition, image = strips([4, 4, 4, 4], [0.0, 1.0, 0.2, 0.1])
    found = [hard(partition, target, image).tolist() for target in (4, 3, 2, 1)]
    assert found == [[0, 1, 2, 3], [0, 1, 2, 2], [0, 0, 1, 1], [0, 0, 0, 0]]


def test_merges_textures_of_like_spread_before_smooth_regions_at_the_same_distance():
    partition, image = strips([6, 6, 6, 6], [0.0, 0.5, 5.0, 5.5], noise=[0.0, 0.0, 1.0, 1.0])
    assert hard(partition, 3, image).tolist() == [0, 1, 2, 2]


def test_prefers_the_longer_common_border():
    """A dot joins the region that surrounds it on three sides, although it is nearer to the other one."""
    labels = torch.tensor([[[0, 0, 0, 1, 1, 1], [0, 0, 0, 2, 1, 1], [0, 0, 0, 1, 1, 1]]])
    image = torch.tensor([-0.85, 1.0, 0.0])[labels][:, None]
    left, right = (slow_reference.code_length(image[0, :, (labels[0] == 2) | (labels[0] == label)].double().numpy().T)
                   - slow_reference.code_length(image[0, :, labels[0] == label].double().numpy().T) for label in (0, 1))
    assert left < right
    assert hard(Partition.from_labels(labels, image), 2, image).tolist() == [0, 1, 1]


def test_equal_costs_go_to_the_smaller_exclusive_or():
    """So a field of equal regions merges in pairs: region 2 prefers 3 to its union of 0 and 1."""
    partition, image = strips([1] * 16, [0.0] * 16)
    assert hard(partition, 15, image).tolist() == [0, *range(15)]
    assert hard(partition, 14, image).tolist() == [0, 0, 1, *range(1, 14)]


def test_code_length_is_that_of_numpy():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 6, 5, generator=generator) * torch.tensor([1.0, 30.0])[:, None, None, None]
    labels, offsets = torch.zeros(2, 6, 5, dtype=torch.int32), torch.tensor([0, 1, 2])
    moments, unit = pixel_moments(image, labels, offsets, 2)
    found = code_length(moments, torch.tensor([30, 30]), unit)
    expected = [slow_reference.code_length(one.flatten(1).double().numpy().T) for one in image]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)  # pixels are rounded to 20 bits


@pytest.mark.parametrize('target', [0, -3, 2.0, True, None])
def test_bad_targets_are_named(target):
    with pytest.raises(ValueError, match=f'target must be a positive integer, got {target!r}'):
        hard(draw_partition(0), target)


def test_bad_images_are_named():
    partition = draw_partition(0)
    with pytest.raises(ValueError, match=r'image must be a float .* got torch.float32 of shape \(3, 3, 11, 8\)'):
        hard(partition, 3, torch.zeros(3, 3, 11, 8))
    with pytest.raises(ValueError, match='got torch.int64'):
        hard(partition, 3, torch.zeros(3, 3, 11, 9, dtype=torch.int64))
