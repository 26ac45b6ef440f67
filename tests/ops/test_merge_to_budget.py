"""Merging down to a token budget: the soft merge against loops, its draw, and what the hard merge promises."""

from dataclasses import replace

import numpy as np
import pytest
import slow_reference
import torch
from scipy import ndimage, stats
from torch import Tensor

from dht_mm.ops import hard_merge, soft_merge
from dht_mm.ops.reference.budget import rank_in_image, uniform_draws
from dht_mm.structures import Partition

KERNELS = ('gaussian', 'cosine', 'tanimoto')


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


def soft(partition: Partition, target: int, **options) -> Tensor:
    return soft_merge(partition.labels, partition.offsets, partition.size, partition.bbox, partition.color, target, **options)


def hard(partition: Partition, target: int) -> Tensor:
    return hard_merge(partition.labels, partition.offsets, partition.size, partition.color, target)


def image_of(partition: Partition, image: int) -> Partition:
    """One image of a batch as a partition of its own."""
    rows = slice(int(partition.offsets[image]), int(partition.offsets[image + 1]))
    return Partition(
        partition.labels[image:image + 1], partition.num_regions[image:image + 1],
        torch.tensor([0, rows.stop - rows.start]).int(), partition.bbox[rows], partition.size[rows], partition.mean,
        partition.color[rows])


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


@pytest.mark.parametrize('target', [1, 2, 7, 25, 1000])
@pytest.mark.parametrize('seed', range(4))
def test_hard_merge_leaves_exactly_the_target_of_larger_partitions(seed: int, target: int):
    partition = draw_partition(seed)
    parent = hard(partition, target)
    check_valid(partition, parent)
    for before, after in zip(partition.num_regions.tolist(), of_images(partition, parent), strict=True):
        assert len(set(after)) == min(before, target)


@pytest.mark.parametrize('target', [2, 9])
def test_hard_merge_does_not_see_the_rest_of_the_batch(target: int):
    partition = draw_partition(3)
    for image, expected in enumerate(of_images(partition, hard(partition, target))):
        assert hard(image_of(partition, image), target).tolist() == expected


def test_hard_merge_takes_the_cheapest_neighbours_first():
    """Four strips; the last two are nearest in colour (the first and the last are no neighbours), and together then cost more."""
    labels = torch.arange(4).expand(1, 5, -1)
    strips = replace(Partition.from_labels(labels, torch.zeros(1, 1, 5, 4)), color=torch.tensor([[0.0], [1.0], [0.1], [0.0]]))
    assert [hard(strips, target).tolist() for target in (4, 3, 2, 1)] == [[0, 1, 2, 3], [0, 1, 2, 2], [0, 0, 1, 1], [0, 0, 0, 0]]


def test_hard_merge_weighs_colours_by_size():
    """Ward's costs of the neighbours: 5 * 0.36, far, and 0.99 * 1; by colour alone or by products of sizes the first is least."""
    labels = torch.arange(4).repeat_interleave(torch.tensor([10, 10, 1, 100])).expand(1, 1, -1)
    strips = Partition.from_labels(labels, torch.zeros(1, 1, *labels.shape[1:]))
    assert hard(replace(strips, color=torch.tensor([[0.0], [0.6], [9.0], [10.0]])), 3).tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize('target', [0, -3, 2.0, True, None])
@pytest.mark.parametrize('merge', [soft, hard])
def test_bad_targets_are_named(merge, target):
    with pytest.raises(ValueError, match=f'target must be a positive integer, got {target!r}'):
        merge(draw_partition(0), target)


def test_bad_kernel_is_named():
    with pytest.raises(ValueError, match="kernel must be one of .* got 'rbf'"):
        soft(draw_partition(0), 3, kernel='rbf')
