"""Token budgets of the tokenizer: targets, what they leave, and the draw in training."""


import numpy as np
import pytest
import torch
from partition_checks import check_partition, fields_of, same_bits
from torch import Tensor

from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer, TokenBudget


def tokenize(model: DHTTokenizer, images: Tensor, budget: TokenBudget | None) -> Partition:
    model.token_budget = budget
    with torch.no_grad():
        return model(images)


@pytest.mark.parametrize(('num_pixels', 'train', 'test'), [(224**2, 224, 400), (512**2, 512, 914), (300, 17, 31), (1, 1, 2)])
def test_default_targets(num_pixels: int, train: int, test: int):
    budget = TokenBudget('soft')
    assert budget.target(num_pixels, training=True) == train and budget.target(num_pixels, training=False) == test
    assert TokenBudget('hard', train=5, test=7).target(num_pixels, training=True) == 5
    assert TokenBudget('hard', train=5, test=7).target(num_pixels, training=False) == 7


@pytest.mark.parametrize('target', [1, 2, 5, 20, 50])
@pytest.mark.parametrize('training', [False, True])
def test_hard_budget_is_never_exceeded(model: DHTTokenizer, images: Tensor, target: int, training: bool):
    partition = tokenize(model.train(training), images, TokenBudget('hard', train=target, test=target))
    check_partition(partition, images, 8)
    assert partition.num_regions.max() == target and partition.num_regions[2] == 1


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('mode', ['soft', 'hard'])
def test_partition_within_its_budget_is_left_as_it_is(model: DHTTokenizer, images: Tensor, mode: str, training: bool):
    model.train(training)
    free = tokenize(model, images, None)
    most = int(free.num_regions.max())
    for target in (most, most + 1, 10 * most):
        kept = tokenize(model, images, TokenBudget(mode, train=target, test=target))
        assert torch.equal(kept.labels, free.labels) and torch.equal(kept.bbox, free.bbox) and torch.equal(kept.size, free.size)
        torch.testing.assert_close(kept.mean, free.mean, rtol=0, atol=0)


@pytest.mark.parametrize('training', [False, True])
def test_soft_budget_merges_towards_its_target(model: DHTTokenizer, images: Tensor, training: bool):
    model.train(training)
    torch.manual_seed(0)
    free = tokenize(model, images, None).num_regions
    counts = []
    for target in (5, 20, 40):
        partition = tokenize(model, images, TokenBudget('soft', train=target, test=target))
        check_partition(partition, images, 8)
        counts.append(partition.num_regions)
        assert (partition.num_regions[:2] < free[:2]).all() and partition.num_regions[2] == 1
    assert (counts[0][:2] < counts[1][:2]).all() and (counts[1][:2] < counts[2][:2]).all()


@pytest.mark.parametrize('budget', [TokenBudget('soft', test=15), TokenBudget('hard', test=15)], ids=str)
def test_merged_means_are_weighted_by_size_and_colours_predicted_anew(model: DHTTokenizer, images: Tensor, budget: TokenBudget):
    free, merged = tokenize(model, images, None), tokenize(model, images, budget)
    torch.testing.assert_close(merged.mean, merged.pool(free.scatter(free.mean)))
    torch.testing.assert_close(merged.color, merged.mean @ model.color.weight.T + model.color.bias)
    parent = free.pool(merged.packed_labels[:, None].double())
    assert not (parent % 1).any(), 'regions were cut'


def test_gradient_flows_through_both_modes(model: DHTTokenizer, images: Tensor):
    for mode in ('soft', 'hard', 'exact'):
        model.train().token_budget = TokenBudget(mode, train=10)
        model.zero_grad()
        (model(images).color ** 2).sum().backward()
        assert all(value.grad.isfinite().all() for value in model.parameters())
        assert model.projection.pixel['conv'].weight.grad.any()


def test_evaluation_draws_nothing(model: DHTTokenizer, images: Tensor):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = tokenize(model, images, TokenBudget('soft', test=10))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(tokenize(model, images, TokenBudget('soft', test=10)).labels, first.labels)


def test_training_draws_by_the_seed_and_the_own_image(model: DHTTokenizer, images: Tensor):
    budget, model = TokenBudget('soft', train=10), model.train()

    def draw(seed: int, batch: list[int]) -> Partition:
        torch.manual_seed(seed)
        return tokenize(model, images[batch], budget)

    whole = draw(0, [0, 1, 2])
    assert same_bits(fields_of(draw(0, [0, 1, 2]), 1), fields_of(whole, 1))
    for order in ([1], [1, 0], [2, 0, 1]):
        found = draw(0, order)
        for place, image in enumerate(order):
            assert same_bits(fields_of(found, place), fields_of(whole, image))
    assert len({draw(seed, [0]).labels.numpy().tobytes() for seed in range(8)}) == 8
    torch.manual_seed(0)
    assert not torch.equal(tokenize(model, images, budget).labels, tokenize(model, images, budget).labels), 'each step draws anew'


def test_training_prefers_to_keep_small_regions(model: DHTTokenizer, images: Tensor):
    """Regions that outlast many draws untouched are smaller than those that are merged."""
    free, model = tokenize(model, images[:1], None), model.train()
    kept = np.zeros(free.total_regions)
    for seed in range(30):
        torch.manual_seed(seed)
        merged = tokenize(model, images[:1], TokenBudget('soft', train=free.total_regions // 2))
        parent = free.pool(merged.packed_labels[:, None].double())[:, 0].long()
        kept += (torch.bincount(parent)[parent] == 1).numpy()
    assert np.corrcoef(kept, np.log(free.size.numpy()))[0, 1] < -0.3
