"""The exact linear map: values, gradients and bits that depend on nothing but one row."""

import numpy as np
import pytest
import torch

from dht_mm.ops import backend_info, exact_linear, use_backend

INFO = backend_info()
needs_library = pytest.mark.skipif(not INFO['loaded'], reason=f'needs the compiled operators: {INFO["library"]}')


def arguments(dtype: torch.dtype = torch.float32, rows: tuple[int, int] = (50, 12)) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=random, dtype=torch.float64).to(dtype) for shape in (rows, (7, rows[1]), (7,))]


def test_equals_sums_in_the_order_of_the_columns_rounded_once():
    rows, weight, bias = arguments()
    found = exact_linear(rows, weight, bias)
    x, w, b = rows.double().numpy(), weight.double().numpy(), bias.double().numpy()
    for row, output in ((0, 0), (20, 3), (49, 6)):
        total = np.float64(b[output])
        for k in range(x.shape[1]):
            total = total + x[row, k] * w[output, k]
        assert found[row, output].item() == np.float32(total)
    assert found.dtype == torch.float32 and found.is_contiguous()
    torch.testing.assert_close(found, (rows.double() @ weight.double().T + bias.double()).float())


@needs_library
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('count', [0, 1, 5000])
def test_backends_give_the_same_bits(device: str, dtype: torch.dtype, count: int):
    rows, weight, bias = arguments(rows=(count, 12))
    rows = rows.to(dtype)
    with use_backend('torch'):
        expected = exact_linear(rows, weight, bias)
    with use_backend('ext'):
        actual = exact_linear(rows.to(device), weight.to(device), bias.to(device))
    assert actual.dtype == dtype and torch.equal(actual.cpu(), expected)


def test_bits_depend_on_the_row_alone(other_threads):
    rows, weight, bias = arguments(rows=(6000, 12))
    whole = exact_linear(rows, weight, bias)
    assert torch.equal(whole[100:101], exact_linear(rows[100:101], weight, bias))
    assert torch.equal(whole, exact_linear(rows.T.contiguous().T, weight, bias))
    with other_threads():
        assert torch.equal(whole, exact_linear(rows, weight, bias))


def test_gradcheck():
    leaves = [leaf.requires_grad_() for leaf in arguments(torch.float64, (4, 3))]
    assert torch.autograd.gradcheck(exact_linear, leaves)


@pytest.mark.parametrize('wanted', range(3))
def test_only_what_is_wanted_gets_a_gradient_in_its_own_dtype(wanted: int):
    leaves = arguments()
    leaves[wanted].requires_grad_()
    exact_linear(*leaves).sum().backward()
    assert leaves[wanted].grad.dtype == torch.float32
    assert [leaf.grad is not None for leaf in leaves] == [place == wanted for place in range(3)]


@pytest.mark.parametrize('backend', ['torch', pytest.param('ext', marks=needs_library)])
def test_opcheck(device: str, backend: str):
    with use_backend(backend):
        torch.library.opcheck(torch.ops.dht_mm.exact_linear.default, (
            *(leaf.to(device).requires_grad_() for leaf in arguments()), torch.tensor(30, device=device).int()))


@pytest.mark.parametrize('used', [torch.tensor(3), torch.tensor([3]).int()])
def test_a_count_of_another_kind_is_refused(used: torch.Tensor):
    with pytest.raises(ValueError, match=r'used must be an int32 \[\], got torch.int'):
        exact_linear(*arguments(), used)


@pytest.mark.parametrize('shapes', [
    ((4, 3), (2, 4), (2,)), ((1, 4, 3), (2, 3), (2,)), ((4, 3), (2, 3), (3,)), ((4, 3), (3,), (2,))])
def test_shapes_that_do_not_fit_are_named(shapes: tuple):
    with pytest.raises(ValueError, match=r'rows, weight and bias must be .* got \(') as error:
        exact_linear(*(torch.zeros(shape) for shape in shapes))
    assert all(str(shape) in str(error.value) for shape in shapes)
