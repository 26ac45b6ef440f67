"""The exact budget: each image is merged from a level fine enough for it, to just as many regions as were asked for."""

from collections.abc import Callable

import pytest
import torch
from partition_checks import check_partition
from torch import Tensor

from dht_mm.ops import Hierarchy, finer_cut
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer, TokenBudget


@pytest.fixture(scope='module')
def images(golden: Callable) -> Tensor:
    """Pieces of two photos, one of them mostly of one colour, and one colour."""
    photos = [golden(name).image[0, :, 20:66, 30:81] for name in ('cityhydrant_128x128_aicc_cmp0.1', 'toys_128x128_cic_cmp0.01')]
    flat = photos[1].clone()
    flat[:, 12:] = 0.5
    return torch.stack([photos[0], flat, torch.zeros_like(flat)])


def partition_of(hierarchy: Hierarchy) -> Partition:
    return Partition(*hierarchy[:3], hierarchy.bbox, hierarchy.size, hierarchy.mean, hierarchy.mean[:, :3])


def counts_of_levels(model: DHTTokenizer, image: Tensor) -> list[int]:
    """Regions of one image at levels 1, 2, ..."""
    return model.hierarchy(image[None]).level_starts.diff()[1:-1].tolist()


@torch.no_grad()
@pytest.mark.parametrize('target', [1, 7, 40, 150])
def test_exact_budget_leaves_just_as_many_whatever_the_criterion_selects(model: DHTTokenizer, images: Tensor, target: int):
    model.token_budget = TokenBudget('exact', test=target)
    partition = model(images)
    model.token_budget = None
    check_partition(partition, images, 8)
    most = torch.tensor([counts_of_levels(model, image)[0] for image in images])
    assert torch.equal(partition.num_regions.long(), most.clamp_max(target))
    assert (model(images).num_regions < 150).any(), 'the criterion alone would not do'


def test_means_are_weighted_by_size_and_carry_the_gradient_of_the_level(model: DHTTokenizer, images: Tensor):
    model.token_budget = TokenBudget('exact', test=12)
    leaf = images.clone().requires_grad_()
    merged = model(leaf)
    model.token_budget = None
    cut = partition_of(finer_cut(model.hierarchy(images), 12))
    torch.testing.assert_close(merged.mean.detach(), merged.pool(cut.scatter(cut.mean)))
    gradient, = torch.autograd.grad((merged.color[:, 0] * torch.arange(len(merged.size))).sum(), leaf)
    assert gradient.isfinite().all() and gradient[0].any()
