"""Operators are called through torch.library where somebody watches, with the same results."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dht_mm.ops import exact_linear
from dht_mm.ops.op import is_watched
from dht_mm.ops.region_pixels import _region_pixels_backward


class Names(TorchDispatchMode):
    """Keeps the names of the operators that it sees."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(str(func))
        return func(*args, **(kwargs or {}))


def leaves() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in ((6, 4), (3, 4), (3,))]


def step() -> list[Tensor]:
    inputs = leaves()
    out = exact_linear(*inputs)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), inputs)]


def test_a_mode_sees_the_operator_and_changes_nothing():
    expected, mode = step(), Names()
    assert not is_watched()
    with mode:
        assert is_watched()
        found = step()
    assert 'dht_mm.exact_linear.default' in mode.seen
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_nobody_watches_an_eager_step():
    with torch.autograd.profiler.profile() as profile:
        step()
    assert not any(event.name.startswith('dht_mm::') for event in profile.function_events)


@pytest.mark.parametrize('watched', [False, True])
def test_an_operator_without_a_gradient_refuses_one(watched: bool):
    grad, samples = torch.randn(1, 2, 3, 3, requires_grad=True), (torch.zeros(1, 3, 3).int(), torch.tensor([0, 1]).int())
    with Names() if watched else torch.enable_grad():
        out = _region_pixels_backward(grad, *samples, torch.tensor([[0, 0, 2, 2]]).int(), False)
        with pytest.raises((RuntimeError, NotImplementedError), match='autograd|does not require grad'):
            out.sum().backward()
