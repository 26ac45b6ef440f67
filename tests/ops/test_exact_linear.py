"""The exact linear map: values, gradients and bits that depend on nothing but one column."""

import numpy as np
import pytest
import torch

from dht_mm.ops import exact_linear


def arguments(dtype: torch.dtype = torch.float32, planes: tuple[int, ...] = (3, 12, 50)) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=random, dtype=dtype) for shape in (planes, (7, planes[1]), (7,))]


def test_equals_sums_in_the_order_of_the_channels():
    planes, weight, bias = arguments()
    found = exact_linear(planes, weight, bias)
    x, w, b = planes.double().numpy(), weight.double().numpy(), bias.double().numpy()
    for image, row, column in ((0, 0, 0), (1, 3, 20), (2, 6, 49)):
        total = np.float64(b[row])
        for k in range(x.shape[1]):
            total = total + x[image, k, column] * w[row, k]
        assert found[image, row, column].item() == total
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, weight.double() @ planes.double() + bias.double()[:, None])


def test_bits_depend_on_the_column_alone(other_threads):
    planes, weight, bias = arguments(planes=(4, 12, 3000))
    whole = exact_linear(planes, weight, bias)
    assert torch.equal(whole[2:3, :, 100:101], exact_linear(planes[2:3, :, 100:101], weight, bias))
    assert torch.equal(whole, exact_linear(planes.transpose(0, 2).contiguous().transpose(0, 2), weight, bias))
    with other_threads():
        assert torch.equal(whole, exact_linear(planes, weight, bias))


def test_gradcheck():
    leaves = [leaf.requires_grad_() for leaf in arguments(torch.float64, (2, 3, 4))]
    assert torch.autograd.gradcheck(exact_linear, leaves)


@pytest.mark.parametrize('wanted', range(3))
def test_only_what_is_wanted_gets_a_gradient_in_its_own_dtype(wanted: int):
    leaves = arguments()
    leaves[wanted].requires_grad_()
    exact_linear(*leaves).sum().backward()
    assert leaves[wanted].grad.dtype == torch.float32
    assert [leaf.grad is not None for leaf in leaves] == [place == wanted for place in range(3)]


@pytest.mark.parametrize('shapes', [
    ((3, 4), (2, 3), (2,)), ((1, 3, 4), (2, 4), (2,)), ((1, 3, 4), (2, 3), (3,)), ((1, 3, 4), (3,), (2,))])
def test_shapes_that_do_not_fit_are_named(shapes: tuple):
    with pytest.raises(ValueError, match=r'planes, weight and bias must be .* got \(') as error:
        exact_linear(*(torch.zeros(shape) for shape in shapes))
    assert all(str(shape) in str(error.value) for shape in shapes)
