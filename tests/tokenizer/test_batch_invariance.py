"""In evaluation an image's partition is the same bits alone, in any batch at any place, twice, and with any number of threads."""

from collections.abc import Callable

import pytest
import torch
from partition_checks import fields_of, same_bits
from torch import Tensor

from dht_mm.tokenizer import DHTTokenizer, TokenBudget

BUDGETS = (None, TokenBudget('soft', test=30), TokenBudget('hard', test=30), TokenBudget('exact', test=60),
           TokenBudget('hard', test=30, spread=0.1))


@pytest.fixture(scope='module')
def model(published: dict[str, Tensor]) -> DHTTokenizer:
    model = DHTTokenizer(compactness=0.01).eval()
    model.load_state_dict(published)
    return model


@pytest.fixture(scope='module')
def images(golden: Callable) -> Tensor:
    """Four pieces of photos of odd size, one of them darkened, and one colour."""
    names = ('cityhydrant_224x224_aicc_cmp0.01', 'cowbike_224x224_aicc_cmp0.01', 'toys_224x224_aicc_cmp0.01')
    photos = [golden(name).image[0, :, 40:103, 60:117] for name in names]
    return torch.stack([*photos, 0.1 * photos[0], torch.zeros_like(photos[0])])


@pytest.mark.parametrize('budget', BUDGETS, ids=str)
def test_batch_and_place_change_no_bit(model: DHTTokenizer, images: Tensor, budget: TokenBudget | None):
    model.token_budget = budget
    with torch.no_grad():
        alone = [fields_of(model(image[None]), 0) for image in images]
        for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0], [1, 1, 4], [3]):
            together = model(images[order])
            for place, image in enumerate(order):
                assert same_bits(fields_of(together, place), alone[image]), (order, place)


@pytest.mark.parametrize('budget', BUDGETS, ids=str)
def test_repetition_and_threads_change_no_bit(model: DHTTokenizer, golden: Callable, budget: TokenBudget | None):
    """An image large enough for torch to share work among threads."""
    model.token_budget = budget
    photo = golden('cityhydrant_128x128_aicc_cmp0.1').image
    threads = torch.get_num_threads()
    with torch.no_grad():
        first, second = model(photo), model(photo)
        torch.set_num_threads(1 if threads > 1 else 2)
        try:
            threaded = model(photo)
        finally:
            torch.set_num_threads(threads)
    assert same_bits(fields_of(first, 0), fields_of(second, 0)) and same_bits(fields_of(first, 0), fields_of(threaded, 0))


def test_neighbours_in_the_batch_move_no_gradient(model: DHTTokenizer, images: Tensor):
    """The gradient of an image's colours with respect to it is its own too, to the last bits of float32."""
    model.token_budget = None

    def gradient(batch: list[int]) -> Tensor:
        leaf = images[batch].clone().requires_grad_()
        partition = model(leaf)
        rows = partition.image_index == 0
        return torch.autograd.grad((partition.color[rows] ** 2).sum(), leaf)[0]

    alone, together = gradient([0]), gradient([0, 1, 4])
    torch.testing.assert_close(together[0], alone[0], rtol=1e-5, atol=1e-6)
    assert not together[1:].any()
