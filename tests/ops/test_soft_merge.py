"""The soft merge against loops, its draw, and the kernels against the definition."""

from dataclasses import replace

import numpy as np
import pytest
import slow_reference
import torch
from budget_cases import KERNELS, check_valid, draw_partition, image_of, of_images
from scipy import stats
from torch import Tensor

from dht_mm.ops import soft_merge
from dht_mm.ops.reference.soft_merge import rank_in_image, uniform_draws
from dht_mm.structures import Partition


def soft(partition: Partition, target: int, seed: int | None = None, **options) -> Tensor:
    parent, offsets = soft_merge(partition.labels, partition.offsets, partition.size, partition.bbox, partition.color, target,
                                 seed=None if seed is None else torch.tensor(seed), **options)
    counts = [len(set(rows)) for rows in of_images(partition, parent)]
    assert offsets.tolist() == [0, *np.cumsum(counts)] and parent.dtype == offsets.dtype == torch.int32
    return parent


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('target', [1, 3, 10, 40])
@pytest.mark.parametrize('seed', range(4))
def test_soft_merge_equals_the_slow_reference(seed: int, target: int, kernel: str):
    partition = draw_partition(seed)
    parent = soft(partition, target, kernel=kernel)
    check_valid(partition, parent)
    for image, found in enumerate(of_images(partition, parent)):
        one = image_of(partition, image)
        assert found == slow_reference.soft_merge(one.labels[0].numpy(), one.color.tolist(), target, kernel)


@pytest.mark.parametrize('seed', [None, 0, 2**63 - 1])
def test_soft_merge_leaves_small_partitions_alone(seed: int | None):
    partition = draw_partition(5)
    for target in (int(partition.num_regions.max()), 10**6):
        assert torch.equal(soft(partition, target, seed=seed), torch.arange(partition.total_regions))
    few = int(partition.num_regions.min())
    for image, found in enumerate(of_images(partition, soft(partition, few, seed=seed))):
        assert (len(set(found)) == len(found)) == (partition.num_regions[image] <= few)


@pytest.mark.parametrize('widths', [(1, 4, 9), (9, 4, 1), (4, 16, 1)])
def test_soft_merge_draws_without_replacement_by_inverse_root_size(widths: tuple[int, int, int]):
    """One of three strips is dropped. The first joins the second, the second and the third join each other."""
    labels = torch.arange(3).repeat_interleave(torch.tensor(widths)).expand(1, 2, -1)
    strips = Partition.from_labels(labels, torch.zeros(1, 1, *labels.shape[1:]))
    strips, draws = replace(strips, color=torch.tensor([[1.0], [0.0], [0.1]])), 600
    first_dropped = sum(soft(strips, 2, seed=seed).tolist() == [0, 0, 1] for seed in range(draws))
    share = np.array(widths) ** -0.5 / (np.array(widths) ** -0.5).sum()
    expected = share[1] * share[2] * (1 / (1 - share[1]) + 1 / (1 - share[2]))
    assert stats.binomtest(first_dropped, draws, expected).pvalue > 1e-3


def test_draws_are_uniform_and_unrelated():
    partition = draw_partition(1, batch=2, height=60, width=60)
    arguments = partition.size.long(), partition.bbox.long(), partition.image_index, 2
    draws = torch.stack([uniform_draws(*arguments, seed) for seed in range(20)])
    assert draws.shape[1] > 500 and draws.min() > 0 and draws.max() < 1
    assert stats.kstest(draws.flatten().numpy(), 'uniform').pvalue > 1e-3
    between_seeds = np.corrcoef(draws.numpy())[np.triu_indices(20, 1)]
    between_labels = np.corrcoef(draws[:, :-1].flatten().numpy(), draws[:, 1:].flatten().numpy())[0, 1]
    assert np.abs(between_seeds).max() < 5 * draws.shape[1] ** -0.5 and abs(between_labels) < 5 * draws.numel() ** -0.5


def test_draw_depends_on_the_seed_and_the_own_image_alone():
    partition = draw_partition(2)
    whole = of_images(partition, soft(partition, 5, seed=3))
    assert whole == of_images(partition, soft(partition, 5, seed=3))
    for image, expected in enumerate(whole):
        assert soft(image_of(partition, image), 5, seed=3).tolist() == expected
    assert len({tuple(soft(partition, 5, seed=seed).tolist()) for seed in range(20)}) > 10


def test_ranks_count_within_images_and_ties_go_to_the_smaller_label():
    key = torch.tensor([3.0, 1.0, 3.0, 5.0, 1.0, 1.0]).double()
    image, offsets = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 3, 6])
    assert rank_in_image(key, image, offsets).tolist() == [1, 0, 2, 2, 0, 1]


@pytest.mark.parametrize('target', [0, -3, 2.0, True, None])
def test_bad_targets_are_named(target):
    with pytest.raises(ValueError, match=f'target must be a positive integer, got {target!r}'):
        soft(draw_partition(0), target)


def test_bad_input_is_named():
    partition = draw_partition(0)
    with pytest.raises(ValueError, match="kernel must be one of .* got 'rbf'"):
        soft(partition, 3, kernel='rbf')
    with pytest.raises(ValueError, match=r'size, bbox and color must be .* \(3,\)'):
        soft_merge(partition.labels, partition.offsets, partition.size, partition.bbox, partition.color[:3, 0], 3)
    with pytest.raises(ValueError, match='seed must be an int64 .* got torch.float32'):
        soft(partition, 3, seed=0.5)
