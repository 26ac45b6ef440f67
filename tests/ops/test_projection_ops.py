"""The projection's ops: same bits and gradients in every backend, on every device and for any number of threads."""

import pytest
import torch
from torch import Tensor

from dht_mm.ops import (
    backend_info,
    channel_moments,
    coarse_features,
    fold_norm,
    linear_statistics,
    patch_moments,
    pixel_features,
    project,
    use_backend,
)

INFO = backend_info()
needs_library = pytest.mark.skipif(not INFO['loaded'], reason=f'needs the compiled operators: {INFO["library"]}')
BACKENDS = ['torch', pytest.param('ext', marks=needs_library)]
SIZES = ((2, 3, 8, 16, 24), (1, 1, 1, 1, 1), (2, 3, 8, 1, 9), (3, 3, 8, 31, 1), (2, 1, 5, 7, 18), (1, 4, 3, 33, 70), (1, 10, 11, 6, 5),
         (2, 3, 8, 66, 130))
sizes = pytest.mark.parametrize('size', SIZES, ids='x'.join(['{0[%d]}' % i for i in range(5)]).format)


class Case:
    """An image and folded layers of a projection; all random."""

    def __init__(self, batch: int, in_channels: int, channels: int, height: int, width: int, dtype: torch.dtype = torch.float32):
        random = torch.Generator().manual_seed(height * width)

        def linear(outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
            return tuple(torch.randn(shape, generator=random, dtype=torch.float64) / inputs**0.5 for shape in ((outputs, inputs), outputs))

        self.image = torch.randn(batch, in_channels, height, width, generator=random, dtype=torch.float64).to(dtype)
        self.fine = linear(channels, in_channels)
        self.coarse1, self.coarse2 = linear(4 * channels, 4 * in_channels), linear(channels, 16 * channels)
        self.coarse = torch.randn(batch, channels, -(-height // 4), -(-width // 4), generator=random, dtype=torch.float64)
        self.grad = torch.randn(batch, channels, height, width, generator=random, dtype=torch.float64).to(dtype)
        self.coarse_grad = torch.randn(self.coarse.shape, generator=random, dtype=torch.float64)

    def coarse_inputs(self, device: str) -> list[Tensor]:
        return [tensor.to(device) for tensor in (self.image, *self.coarse1, *self.coarse2)]

    def pixel_inputs(self, device: str) -> list[Tensor]:
        return [tensor.to(device) for tensor in (self.image, self.coarse, *self.fine)]


def coarse_of(image: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
    return coarse_features(image, (weight1, bias1), (weight2, bias2))


def pixels_of(image: Tensor, coarse: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return pixel_features(image, coarse, (weight, bias))


@needs_library
@sizes
@pytest.mark.parametrize('stride', [1, 2])
def test_patch_moments_are_the_same_bits(device: str, size: tuple[int, ...], stride: int):
    image = Case(*size).image
    image = image[..., :size[3] // stride * stride, :size[4] // stride * stride]
    if not image.numel():
        pytest.skip('no patch fits')
    with use_backend('torch'):
        expected = patch_moments(image, stride)
    with use_backend('ext'):
        actual = patch_moments(image.to(device), stride)
    assert all(torch.equal(found.cpu(), wanted) for found, wanted in zip(actual, expected, strict=True))


@needs_library
@sizes
def test_channel_moments_are_the_same_bits(device: str, size: tuple[int, ...]):
    values = Case(*size).coarse
    with use_backend('torch'):
        expected = channel_moments(values)
    with use_backend('ext'):
        actual = channel_moments(values.to(device))
    assert all(torch.equal(found.cpu(), wanted) for found, wanted in zip(actual, expected, strict=True))


def draw_layer(device: str = 'cpu', dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Weight, bias, gamma, beta, mean and variance of a linear map with batch norm."""
    random = torch.Generator().manual_seed(0)
    return [torch.rand(shape, generator=random, dtype=torch.float64).to(device, dtype) + 0.5 for shape in ((3, 4), *[3] * 5)]


def draw_layers(device: str = 'cpu', dtype: torch.dtype = torch.float32) -> tuple[list[list[Tensor]], list[float]]:
    """The three layers of a projection of three channels to eight features, as convolutions hold them, and their norms' epsilons."""
    random = torch.Generator().manual_seed(2)
    shapes = ((8, 3, 1, 1), (32, 3, 2, 2), (8, 32, 2, 2))
    layers = [[(torch.rand(size, generator=random, dtype=torch.float64) + 0.1).to(device, dtype) for size in (shape, *[shape[:1]] * 5)]
              for shape in shapes]
    return layers, [1e-5, 1e-3, 1e-4]


def draw_moments(device: str = 'cpu') -> list[Tensor]:
    """Mean and mean outer product of patches of four values."""
    patches = torch.randn(4, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(device)
    return [patches.mean(1), patches @ patches.mT / 50]


@needs_library
@pytest.mark.parametrize('statistics', [torch.float32, torch.float64])
def test_folded_norms_are_the_same_bits(device: str, statistics: torch.dtype):
    weight, bias, *norm = draw_layer()
    norm[2:] = [tensor.to(statistics) for tensor in norm[2:]]

    def results(backend: str, place: str) -> list[Tensor]:
        layer = [tensor.to(place).requires_grad_() for tensor in (weight, bias, *norm)]
        with use_backend(backend):
            folded = fold_norm(*layer, 1e-5)
            grads = torch.autograd.grad(folded[0].sum() + folded[1].square().sum(), layer)
            return [tensor.cpu() for tensor in (*folded, *linear_statistics(*draw_moments(place), *layer[:2]), *grads)]

    expected, actual = results('torch', 'cpu'), results('ext', device)
    assert all(torch.equal(found, wanted) for found, wanted in zip(actual[:4], expected[:4], strict=True))
    for found, wanted in zip(actual[4:], expected[4:], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('memory', [torch.contiguous_format, torch.channels_last])
def test_projection_is_its_steps_bit_for_bit(device: str, backend: str, dtype: torch.dtype, memory: torch.memory_format):
    image, (layers, eps) = Case(2, 3, 8, 13, 18).image.to(device), draw_layers(device, dtype)
    for layer in layers:
        layer[0] = layer[0].contiguous(memory_format=memory)
    with use_backend('auto' if dtype == torch.float64 and backend == 'ext' else backend):
        fine, coarse1, coarse2 = (
            fold_norm(layer[0].flatten(1), *layer[1:], epsilon) for layer, epsilon in zip(layers, eps, strict=True))
        expected, actual = pixel_features(image, coarse_features(image, coarse1, coarse2), fine), project(image, layers, eps)
    assert torch.equal(actual, expected) and actual.stride() == expected.stride()


def test_statistics_are_those_of_the_linear_map():
    patches = torch.randn(4, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight, bias = draw_layer()[:2]
    out = weight.double() @ patches + bias[:, None]
    for found, wanted in zip(linear_statistics(*draw_moments(), weight, bias), (out.mean(1), out.var(1, correction=0)), strict=True):
        torch.testing.assert_close(found, wanted)


def test_moments_are_those_of_the_patches():
    image = Case(2, 3, 8, 10, 14).image
    patches = torch.nn.functional.pixel_unshuffle(image, 2).movedim(1, 0).flatten(1).double()
    first, second = patch_moments(image, 2)
    torch.testing.assert_close(first, patches.sum(1), rtol=0, atol=1e-9)
    torch.testing.assert_close(second, patches @ patches.mT, rtol=0, atol=1e-9)
    first, second = channel_moments(image.double())
    torch.testing.assert_close(first, image.double().sum((0, 2, 3)), rtol=0, atol=1e-9)
    torch.testing.assert_close(second, image.double().square().sum((0, 2, 3)), rtol=0, atol=1e-9)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('scale', [0.0, 1e-15, 1e30])
def test_moments_of_extreme_images(backend: str, scale: float):
    image = scale * Case(2, 3, 8, 10, 14).image
    with use_backend(backend):
        first, second = patch_moments(image, 1)
    rows = image.movedim(1, 0).flatten(1).double()
    torch.testing.assert_close(first, rows.sum(1), rtol=1e-9, atol=1e-9 * scale)
    torch.testing.assert_close(second, rows @ rows.mT, rtol=1e-9, atol=max(1e-9 * scale**2, 1e-50))


def test_stride_must_divide_the_image():
    with pytest.raises(ValueError, match=r'stride must divide the sides of the image \(5, 4\), got 2'):
        patch_moments(torch.zeros(1, 3, 5, 4), 2)
    with pytest.raises(ValueError, match='stride must be a positive integer, got 0'):
        patch_moments(torch.zeros(1, 3, 5, 4), 0)


@needs_library
@sizes
@pytest.mark.parametrize('step', ['coarse', 'pixel'])
def test_gradients_are_those_of_the_definition(device: str, step: str, size: tuple[int, ...]):
    case = Case(*size)
    function, grad = (coarse_of, case.coarse_grad) if step == 'coarse' else (pixels_of, case.grad)

    def gradients(backend: str, place: str, to_image: bool) -> list[Tensor]:
        inputs = case.coarse_inputs(place) if step == 'coarse' else case.pixel_inputs(place)
        leaves = [tensor.requires_grad_() for tensor in inputs[not to_image:]]
        with use_backend(backend):
            return [found.cpu() for found in torch.autograd.grad(function(*inputs), leaves, grad.to(place))]

    expected = gradients('torch', 'cpu', True)
    for to_image in (False, True):
        for found, wanted in zip(gradients('ext', device, to_image), expected[not to_image:], strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())


@pytest.mark.parametrize('size', [(2, 2, 2, 5, 6), (1, 1, 1, 1, 3)])
def test_gradcheck(size: tuple[int, ...]):
    case = Case(*size, dtype=torch.float64)
    layer = draw_layer(dtype=torch.float64)
    for function, inputs in (
            (coarse_of, case.coarse_inputs('cpu')), (pixels_of, case.pixel_inputs('cpu')),
            (lambda *layer: fold_norm(*layer, 1e-5), layer), (linear_statistics, [*draw_moments(), *layer[:2]]),
            (lambda image: patch_moments(image, 1), [case.image]), (channel_moments, [case.image])):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        assert torch.autograd.gradcheck(function, leaves, atol=1e-6)


def op_arguments(device: str) -> dict[str, tuple]:
    case = Case(2, 3, 8, 6, 9)
    coarse, pixel = case.coarse_inputs(device), case.pixel_inputs(device)
    grad, coarse_grad = case.grad.to(device), case.coarse_grad.to(device)
    layer, moments, (layers, eps) = draw_layer(device), draw_moments(device), draw_layers(device)
    coarse_leaves, pixel_leaves, layer_leaves, moment_leaves = (
        [tensor.clone().requires_grad_() for tensor in inputs] for inputs in (coarse, pixel, layer, moments))
    return dict(
        fold_norm=(*layer_leaves, 1e-5), linear_statistics=(*moment_leaves, *layer_leaves[:2]),
        fold_norm_backward=(torch.ones(3, 4, device=device).double(), torch.ones(3, device=device).double(), *layer[:3], *layer[4:], 1e-5),
        coarse_features=coarse_leaves, pixel_features=pixel_leaves,
        coarse_features_backward=(coarse_grad, *coarse[:4], False), pixel_features_backward=(grad, *pixel, False),
        project=(case.image.to(device), [tensor for layer in layers for tensor in layer], eps),
        patch_moments=(coarse_leaves[0], 1), channel_moments=(pixel_leaves[1],))


@pytest.mark.parametrize('name', op_arguments('cpu'))
@pytest.mark.parametrize('backend', BACKENDS)
def test_opcheck(device: str, backend: str, name: str):
    arguments = op_arguments(device)[name]
    with use_backend(backend):
        torch.library.opcheck(getattr(torch.ops.dht_mm, name).default, tuple(arguments))
        if name.endswith('features_backward'):
            torch.library.opcheck(getattr(torch.ops.dht_mm, name).default, (*arguments[:-1], True))


def test_wrong_shapes_are_refused():
    case = Case(1, 3, 8, 8, 8)
    with pytest.raises(ValueError, match=r'fine must have the shapes \[8, 3\] and \[8\], got \(32, 12\)'):
        pixel_features(case.image, case.coarse, (case.coarse1[0], case.fine[1]))
    with pytest.raises(ValueError, match=r'coarse1 must have the shapes \[32, 12\] and \[32\], got \(8, 3\) and \(8,\)'):
        coarse_features(case.image, case.fine, case.coarse2)
    layers, eps = draw_layers()
    for place, broken in ((0, layers[1][0]), (4, layers[1][4][:-1])):
        wrong = [*layers[1][:place], broken[:-1], *layers[1][place + 1:]]
        with pytest.raises(ValueError, match=r'coarse1 must be a weight of 32 outputs and 12 inputs and five vectors \[32\], got'):
            project(case.image, [layers[0], wrong, layers[2]], eps)
    with pytest.raises(ValueError, match=r'coarse must be \[1, 8, 2, 2\] for an image of \[1, 3, 8, 8\], got \(1, 8, 2, 1\)'):
        pixel_features(case.image, case.coarse[..., :1], case.fine)
