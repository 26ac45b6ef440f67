"""Float64 functions of single operations against numpy's."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dht_mm.ops import exact_sigmoid, exact_sqrt
from dht_mm.ops.reference import exact_math

RANDOM = np.random.default_rng(0)
LARGEST, TINY = np.finfo(np.float64).max, np.finfo(np.float64).tiny


def relative_error(found: Tensor, expected: np.ndarray) -> float:
    return float(np.max(np.abs(found.numpy() - expected) / np.abs(expected)))


def everywhere(low: float, high: float) -> Tensor:
    """Values spread evenly, values next to 0 at all scales, and both ends."""
    even = RANDOM.uniform(low, high, 20000)
    small = RANDOM.choice([-1.0, 1.0], 5000) * 10.0 ** RANDOM.uniform(-300, 0, 5000)
    return torch.from_numpy(np.concatenate([even, small.clip(low, high), [low, high, 0.0]]))


def test_exp():
    x = everywhere(-700.0, 700.0)
    assert relative_error(exact_math.exp(x), np.exp(x.numpy())) < 5e-11
    near = torch.linspace(-3.0, 3.0, 100001, dtype=torch.float64)
    assert relative_error(exact_math.exp(near), np.exp(near.numpy())) < 5e-11
    assert (exact_math.exp(near).diff() > 0).all()


def test_exp_clamps_its_argument():
    x = torch.tensor([-math.inf, -1e300, -700.1, 700.1, 1e300, math.inf], dtype=torch.float64)
    expected = np.exp([-700.0] * 3 + [700.0] * 3)
    assert relative_error(exact_math.exp(x), expected) < 5e-11
    assert exact_math.exp(torch.zeros(3, dtype=torch.float64)).tolist() == [1.0] * 3


def test_exp_does_not_depend_on_the_place_in_a_tensor():
    x = everywhere(-50.0, 50.0)[:1001]
    whole = exact_math.exp(x)
    assert torch.equal(whole, torch.cat([exact_math.exp(one) for one in x.split(1)]))


def test_sigmoid():
    x = everywhere(-700.0, 700.0)
    small = np.exp(-np.abs(x.numpy()))
    expected = np.where(x.numpy() > 0, 1 / (1 + small), small / (1 + small))
    assert relative_error(exact_sigmoid(x), expected) < 1e-10


def test_sigmoid_of_extremes():
    x = torch.tensor([-math.inf, -1e300, 0.0, 1e300, math.inf], dtype=torch.float64)
    low, high = exact_sigmoid(x)[:2], exact_sigmoid(x)[2:]
    assert (low >= 0).all() and (low < 1e-300).all() and high.tolist() == [0.5, 1.0, 1.0]


def test_log():
    scales = 10.0 ** RANDOM.uniform(-307, 308, 20000)
    near_one = 1.0 + RANDOM.choice([-1.0, 1.0], 5000) * 10.0 ** RANDOM.uniform(-15, -0.5, 5000)
    x = np.concatenate([scales, near_one, [TINY, LARGEST, 2.0, 0.5, math.sqrt(2.0), math.sqrt(0.5)]])
    expected = np.log(x)
    keep = expected != 0
    assert relative_error(exact_math.log(torch.from_numpy(x[keep])), expected[keep]) < 1e-13
    assert exact_math.log(torch.ones(2, dtype=torch.float64)).tolist() == [0.0, 0.0]


def test_sqrt_is_correctly_rounded():
    just_below_squares = 4.0 ** np.arange(9) * np.nextafter(1.0, 0.0)  # their roots lie next to the middle of two numbers
    x = np.concatenate([10.0 ** RANDOM.uniform(-290, 300, 20000), RANDOM.integers(0, 2**53, 5000).astype(float), [0.0, 1.0, 4.0],
                        just_below_squares])
    assert np.array_equal(exact_sqrt(torch.from_numpy(x)).numpy(), np.sqrt(x))


def test_power_of_two_and_split_exponent_are_exact():
    exponent = torch.arange(-1022, 1024)
    power = exact_math.power_of_two(exponent)
    assert power.tolist() == [2.0**e for e in exponent.tolist()]
    x = torch.from_numpy(10.0 ** RANDOM.uniform(-300, 300, 2000))
    mantissa, exponent = exact_math.split_exponent(x)
    expected, binary = np.frexp(x.numpy())
    assert np.array_equal(mantissa.numpy(), 2 * expected) and np.array_equal(exponent.numpy(), binary - 1)


@pytest.mark.parametrize('function', [exact_math.exp, exact_sigmoid])
def test_gradcheck(function):
    x = torch.linspace(-6, 6, 25, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, x)


def test_sqrt_gradcheck():
    x = torch.linspace(0.1, 6, 25, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(exact_sqrt, x)


def test_functions_leave_their_argument_alone():
    x = torch.linspace(0.1, 5, 7, dtype=torch.float64)
    before = x.clone()
    for function in (exact_math.exp, exact_math.log, exact_sigmoid, exact_sqrt):
        function(x)
        assert torch.equal(x, before)
