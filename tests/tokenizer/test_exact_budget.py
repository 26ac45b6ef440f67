"""The exact budget: each image is merged from a level fine enough for it, to just as many regions as were asked for."""

from collections.abc import Callable

import pytest
import torch
from partition_checks import check_partition
from torch import Tensor

from dht_mm.ops import Hierarchy
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer, TokenBudget
from dht_mm.tokenizer.cut import FINENESS, finer_cut


@pytest.fixture(scope='module')
def images(golden: Callable) -> Tensor:
    """Pieces of two photos, one of them mostly of one colour, and one colour."""
    photos = [golden(name).image[0, :, 20:66, 30:81] for name in ('cityhydrant_128x128_aicc_cmp0.1', 'toys_128x128_cic_cmp0.01')]
    flat = photos[1].clone()
    flat[:, 12:] = 0.5
    return torch.stack([photos[0], flat, torch.zeros_like(flat)])


@pytest.fixture(scope='module')
def model(published: dict[str, Tensor]) -> DHTTokenizer:
    model = DHTTokenizer(compactness=0.01, norm_eval=True).eval()
    model.load_state_dict(published)
    return model


def partition_of(hierarchy: Hierarchy) -> Partition:
    return Partition(*hierarchy[:3], hierarchy.bbox, hierarchy.size, hierarchy.mean, hierarchy.mean[:, :3])


def counts_of_levels(model: DHTTokenizer, image: Tensor) -> list[int]:
    """Regions of one image at levels 1, 2, ..."""
    return model.hierarchy(image[None]).level_starts.diff()[1:-1].tolist()


@pytest.mark.parametrize('target', [1, 3, 10, 30, 100])
def test_cut_is_the_coarsest_level_with_enough_regions(model: DHTTokenizer, images: Tensor, target: int):
    cut = finer_cut(model.hierarchy(images), target)
    check_partition(partition_of(cut), images, 8)
    for image, found in zip(images, cut.num_regions.tolist(), strict=True):
        counts = counts_of_levels(model, image)
        assert found == min((count for count in counts if count >= FINENESS * target), default=counts[0])


def test_regions_of_the_cut_are_those_of_their_nodes(model: DHTTokenizer, images: Tensor):
    hierarchy = model.hierarchy(images)
    cut = finer_cut(hierarchy, 10)
    pixels = images[:, 0].numel()
    node = cut.node.long() - pixels
    assert (node >= 0).all(), 'these images are cut at a level'
    for field in ('size', 'bbox', 'mean'):
        assert torch.equal(getattr(cut, field), getattr(hierarchy, f'node_{field}')[node]), field
    assert torch.equal(partition_of(cut).packed_labels.flatten().bincount().int(), cut.size)


def test_single_pixels_that_are_selected_are_kept_where_level_1_has_too_few_regions(model: DHTTokenizer, images: Tensor):
    hierarchy = model.hierarchy(images[:1, :, :8, :8])
    pixel = torch.arange(64, dtype=torch.int32)
    place = torch.stack([pixel // 8, pixel % 8], 1)
    pixels = hierarchy._replace(
        labels=pixel.view(1, 8, 8), num_regions=torch.tensor([64]), offsets=torch.tensor([0, 64]), node=pixel, size=torch.ones_like(pixel),
        bbox=torch.cat([place, place], 1), mean=torch.randn(64, 8))
    level = int(hierarchy.level_starts.diff()[1])
    assert level < 60
    kept = finer_cut(pixels, 60)
    for field in ('labels', 'num_regions', 'offsets', 'node', 'size', 'bbox', 'mean'):
        assert torch.equal(getattr(kept, field), getattr(pixels, field)), field
    assert int(finer_cut(pixels, level).num_regions) == level


@pytest.mark.parametrize('size', [(1, 1), (2, 3), (1, 5)])
def test_images_without_a_level_stay_as_they_are(model: DHTTokenizer, size: tuple[int, int]):
    hierarchy = model.hierarchy(torch.rand(2, 3, *size))
    assert all(torch.equal(*pair) for pair in zip(finer_cut(hierarchy, 1), hierarchy, strict=True))


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
