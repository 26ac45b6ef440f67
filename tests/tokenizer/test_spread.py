"""Budgets of even size: connected regions, at most as many as asked for, whose sizes differ less."""

from collections.abc import Callable

import pytest
import torch
from partition_checks import check_partition, count_pieces, fields_of, same_bits
from torch import Tensor

from dht_mm.ops import backend_info, use_backend
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer, TokenBudget, mean_shift
from dht_mm.tokenizer.spread import coarse_grid, cut_coarsely, with_places

MODES = ('hard', 'exact')


def tokenize(model: DHTTokenizer, images: Tensor, target: int, mode: str = 'hard', spread: float | None = 0.1) -> Partition:
    model.token_budget = TokenBudget(mode, train=target, test=target, spread=spread)
    with torch.no_grad():
        return model(images)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('target', [1, 2, 5, 40, 110])
def test_regions_are_connected_and_no_more_than_asked_for(model: DHTTokenizer, images: Tensor, mode: str, target: int):
    partition = tokenize(model, images, target, mode)
    check_partition(partition, images, 8)
    assert partition.num_regions[:2].tolist() == [target, target] and partition.num_regions[2] <= target
    assert partition.max_regions is None


@pytest.mark.parametrize('mode', MODES)
def test_sizes_are_more_even(model: DHTTokenizer, images: Tensor, mode: str):
    def variation(spread: float | None) -> float:
        return float(tokenize(model, images[:2], 40, mode, spread).size.float().var())

    plain, even, more_even = (variation(spread) for spread in (None, 0.1, 1.0))
    assert more_even < even < 0.8 * plain


def test_one_colour_is_cut_into_squares(model: DHTTokenizer, images: Tensor):
    """They are twice as long as those of which the image has as many as asked for."""
    partition = tokenize(model, images[2:], 80)
    assert coarse_grid(46, 51, 80) == (4, 4) and partition.num_regions.tolist() == [16]
    assert partition.size.min() >= 11 * 12 and partition.size.max() <= 12 * 13


@pytest.mark.parametrize(('height', 'width', 'target', 'grid'), [
    (360, 480, 300, (7, 10)), (360, 480, 1200, (15, 20)), (224, 224, 196, (7, 7)), (1, 1, 300, (8, 8)), (1, 100, 10, (1, 15)),
    (37, 53, 1, (1, 1)), (2**15, 2**16, 10**9, (11180, 22360))])
def test_squares_of_two_patches(height: int, width: int, target: int, grid: tuple[int, int]):
    assert coarse_grid(height, width, target) == grid


def test_places_are_measured_in_patches():
    images = torch.randn(2, 3, 30, 40, dtype=torch.float64).requires_grad_()
    places = with_places(images, 12, 0.5)  # of 10 x 10 pixels
    assert torch.equal(places[:, :3], images) and not places.requires_grad
    torch.testing.assert_close(places[1, 3, :, 7], torch.arange(30).double() * 0.05)
    torch.testing.assert_close(places[0, 4, 9], torch.arange(40).double() * 0.05)


def test_parts_have_the_mean_of_their_region(model: DHTTokenizer, images: Tensor):
    model.token_budget = None
    with torch.no_grad():
        whole = model(images)
        parts = cut_coarsely(whole, 30)
    count = int(parts.offsets[-1])
    assert count > whole.total_regions and parts.num_regions.sum() == count and not parts.size[count:].any()
    assert [count_pieces(labels.numpy()) for labels in parts.labels] == parts.num_regions.tolist()
    assert torch.equal(parts.mean[parts.packed_labels], whole.mean[whole.packed_labels])


@pytest.mark.parametrize('size', [(1, 1), (1, 2), (2, 1), (1, 50), (50, 1), (3, 3), (17, 31)])
@pytest.mark.parametrize('mode', MODES)
def test_any_size_of_image(mode: str, size: tuple[int, int]):
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    for target in (1, 9, 10**6):
        partition = tokenize(DHTTokenizer().eval(), images, target, mode)
        check_partition(partition, images, 8)
        assert partition.num_regions.max() <= target


@pytest.mark.parametrize('channels', [1, 6, 20])  # with places these last are more than the compiled kernels have room for
def test_any_number_of_channels(channels: int):
    images = torch.randn(2, channels, 24, 20, generator=torch.Generator().manual_seed(0))
    model = DHTTokenizer(channels, token_budget=dict(mode='hard', test=9, spread=0.1)).eval()
    check_partition(model(images), images, 8)


@pytest.mark.skipif(not backend_info()['loaded'], reason='needs the compiled operators')
@pytest.mark.parametrize('mode', MODES)
def test_backends_agree_bit_for_bit(device: str, model: DHTTokenizer, images: Tensor, mode: str):
    for target in (1, 7, 40):
        with use_backend('torch'):
            expected = tokenize(model.cpu(), images, target, mode)
        with use_backend('ext'):
            found = tokenize(model.to(device), images.to(device), target, mode).to('cpu')
        assert all(same_bits(fields_of(found, image), fields_of(expected, image)) for image in range(3))


def test_gradient_is_that_of_averages_over_the_old_regions(model: DHTTokenizer, images: Tensor):
    """The mean of a merged region is that of its pixels' regions before the cut; so is the way back."""
    def gradients(means: Callable[[Partition], Tensor], target: int | None) -> list[Tensor]:
        model.zero_grad()
        model.train().token_budget = target and TokenBudget('hard', train=target, spread=0.1)
        (means(model(images)) * weight).sum().backward()
        return [parameter.grad for parameter in (*model.projection.parameters(), *model.self_edge.parameters())]

    merged = tokenize(model, images, 11)
    weight = torch.randn(merged.mean.shape, generator=torch.Generator().manual_seed(0))
    found = gradients(lambda partition: partition.mean, 11)
    expected = gradients(lambda free: merged.pool(free.scatter(free.mean)), None)
    for grad, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(grad, reference, rtol=1e-4, atol=1e-5 * float(reference.abs().max()))
    assert found[0].any()


@pytest.mark.parametrize('mode', MODES)
def test_colours_and_mean_injection_train_the_projection(model: DHTTokenizer, images: Tensor, mode: str):
    model.train().token_budget = TokenBudget(mode, train=11, spread=0.1)
    partition = model(images)
    (mean_shift(images, partition) ** 2).sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())
    assert model.color.weight.grad.any() and model.projection.pixel['conv'].weight.grad.any()
    torch.testing.assert_close(partition.color, partition.mean @ model.color.weight.T + model.color.bias)


def test_it_is_built_from_a_config():
    from dht_mm.registry import MODELS

    tokenizer = MODELS.build(dict(type='DHTTokenizer', token_budget=dict(mode='hard', train=300, test=300, spread=0.1)))
    assert tokenizer.token_budget == TokenBudget('hard', 300, 300, 0.1)
