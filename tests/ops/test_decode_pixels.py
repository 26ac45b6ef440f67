"""Logits of pixels: the kernels give what plain tensor operations do, and so do their gradients."""

import pytest
import torch
from partitions import random_case
from region_cases import needs_library
from torch import Tensor

from dht_mm.ops import PixelScene, decode_pixels, use_backend

Case = tuple[Tensor, Tensor | None, PixelScene, Tensor]
OPTIONS = [dict(), dict(side=1), dict(mixed=1, kernel=False), dict(mixed=9, side=2), dict(features=False), dict(channels=1, classes=1),
           dict(channels=4, classes=150), dict(classes=40), dict(side=1, mixed=1, kernel=False, features=False),
           dict(height=1, width=1), dict(batch=1, seeds=1)]


def draw(side: int = 4, mixed: int = 5, channels: int = 3, classes: int = 11, kernel: bool = True, features: bool = True, batch: int = 3,
         height: int = 19, width: int = 23, seeds: int = 9) -> Case:
    """Random numbers in every place; some boxes are empty, and some steps lead out of the image."""
    image, partition = random_case(batch, height, width, seeds, channels)
    random = torch.Generator().manual_seed(1)
    regions, planes = partition.total_regions, 5 * channels
    means = torch.cat([20 * torch.rand(regions, 2, generator=random), torch.randn(regions, channels, generator=random)], 1)
    corner = 20 * torch.rand(regions, 2, generator=random)
    boxes = torch.cat([corner, corner + (15 * torch.rand(regions, 2, generator=random) - 2).clamp(min=0)], 1)
    steps = torch.randint(-30, 31, (batch, mixed, 2), generator=random, dtype=torch.int32)
    steps[:, 0] = 0
    colours = torch.cat([image, torch.randn(batch, 4 * channels, height, width, generator=random)], 1)
    scene = PixelScene(partition.labels, partition.offsets, means, partition.size, boxes, steps, 3 * channels, side)
    table = torch.randn(regions * (side**2 + planes * features), classes, generator=random)
    return table, torch.tensor([2.0, 0.5, 1.0]) if kernel else None, scene, colours


def to(case: Case, device: str) -> Case:
    table, kernel, scene, colours = case
    scene = PixelScene(*(part.to(device) if isinstance(part, Tensor) else part for part in scene))
    return table.to(device), None if kernel is None else kernel.to(device), scene, colours.to(device)


def cut(case: Case, rows: slice | Tensor, columns: slice | Tensor) -> Case:
    """The case with the colours of some pixels."""
    return *case[:3], case[3][:, :, rows][..., columns]


def decoded(case: Case, rows: slice | Tensor = slice(None), columns: slice | Tensor = slice(None)) -> Tensor:
    return decode_pixels(*cut(case, rows, columns), rows, columns)


def plainly(case: Case, *lines: slice | Tensor) -> Tensor:
    with use_backend('torch'):
        return decoded(case, *lines)


def gradients(case: Case, *lines: slice | Tensor) -> list[Tensor]:
    """Of the table and the kernel, where the gradients of images differ in size."""
    leaves = [part.detach().requires_grad_() for part in case[:2] if part is not None]
    pixels = decoded((leaves[0], *(leaves[1:] or [None]), *case[2:]), *lines)
    weight = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(2))
    weight *= torch.tensor([1e-3, 1.0, 50.0])[:len(pixels), None, None, None]
    return [*torch.autograd.grad((pixels * weight.to(pixels.device)).sum(), leaves)]


def check_gradient(found: Tensor, expected: Tensor) -> None:
    """Equal but for rounding. Of the kernel, differences of large numbers are added up, which cancel where there is one region alone."""
    least = 1e-2 if expected.dim() == 1 else 1e-6
    torch.testing.assert_close(found.cpu(), expected.cpu(), atol=least + 1e-4 * expected.abs().max().item(), rtol=1e-4)


@needs_library
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_kernels_give_what_the_reference_gives(device: str, options: dict):
    case = draw(**options)
    expected, case = plainly(case), to(case, device)
    with use_backend('ext'):
        found = decoded(case)
        torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=1e-4)
        part, again = decoded(case, slice(3, 10)), decoded(case)
    assert torch.equal(part, found[:, :, 3:10]) and torch.equal(found, again)
    assert found.movedim(1, -1).is_contiguous()


@needs_library
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_gradients_of_kernels_are_those_of_the_reference(device: str, options: dict):
    case = draw(**options)
    with use_backend('torch'):
        expected = gradients(case)
    with use_backend('ext'):
        found, again = gradients(to(case, device)), gradients(to(case, device))
    for gradient, other, right in zip(found, again, expected, strict=True):
        check_gradient(gradient, right)
        assert torch.equal(gradient, other)


@needs_library
def test_a_lattice_is_a_part_of_the_map(device: str):
    case = to(draw(height=40, width=50, seeds=30), device)
    rows, columns = torch.tensor([5, 0, 39], device=device), slice(2, None, 4)
    assert torch.equal(decoded(case, rows, columns), decoded(case)[:, :, [5, 0, 39], 2::4])
    with use_backend('torch'):
        expected = gradients(case, rows, columns)
    for found, right in zip(gradients(case, rows, columns), expected, strict=True):
        check_gradient(found, right)
    assert decoded(case, slice(3, 3)).shape == (3, 11, 0, 50)
    assert not any(gradient.any() for gradient in gradients(case, slice(3, 3)))


def alone_in_batch(case: Case, image: int) -> tuple[slice, Case]:
    """The rows of an image without features, and the image alone."""
    table, kernel, scene, colours = case
    first, end = scene.offsets[image:image + 2].tolist()
    rows = slice(first * scene.side**2, end * scene.side**2)
    alone = PixelScene(scene.labels[image:image + 1], scene.offsets[image:image + 2] - first, *(part[first:end] for part in scene[2:5]),
                       scene.steps[image:image + 1], scene.centred, scene.side)
    return rows, (table[rows], kernel, alone, colours[image:image + 1])


@needs_library
def test_an_image_does_not_depend_on_the_batch(device: str):
    case = to(draw(features=False), device)
    whole, to_table = decoded(case), gradients(case)[0]
    for image in range(3):
        rows, alone = alone_in_batch(case, image)
        assert torch.equal(decoded(alone)[0], whole[image])
        leaf = alone[0].detach().requires_grad_()
        other, = torch.autograd.grad(decoded((leaf, *alone[1:])).square().sum(), leaf)
        table = case[0].detach().requires_grad_()
        together, = torch.autograd.grad(decoded((table, *case[1:])).square().sum(), table)
        assert torch.equal(together[rows], other)
    assert to_table.any()


@needs_library
def test_gradients_that_are_not_finite_stay_in_their_image(device: str):
    table, *others = to(draw(features=False), device)
    table = table.requires_grad_()
    pixels = decoded((table, *others))
    weight = torch.ones_like(pixels)
    weight[1, 0, 0, 0] = torch.inf
    (pixels * weight).sum().backward()
    first, end = (others[1].offsets[1:3] * 16).tolist()
    assert not table.grad[first:end].isfinite().all() and table.grad[:first].isfinite().all() and table.grad[end:].isfinite().all()


def test_gradcheck():
    table, kernel, scene, colours = draw(batch=2, height=4, width=5, seeds=3, classes=2, channels=1, side=2, mixed=2)
    scene = PixelScene(*(part.double() if isinstance(part, Tensor) and part.is_floating_point() else part for part in scene))
    leaves = table.double().requires_grad_(), kernel.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda *leaves: decode_pixels(*leaves, scene, colours.double()), leaves)


@pytest.mark.parametrize('backend', ['torch', pytest.param('ext', marks=needs_library)])
@pytest.mark.parametrize('options', OPTIONS[:3], ids=str)
def test_opcheck(device: str, backend: str, options: dict):
    rows, columns = torch.arange(2, 7, device=device), torch.arange(0, 23, 4, device=device)
    table, kernel, scene, colours = cut(to(draw(**options), device), rows, columns)
    leaves = table.requires_grad_(), None if kernel is None else kernel.requires_grad_()
    arguments = (*leaves, *scene, colours, rows, columns)
    grad = torch.randn(3, 5, 6, 11, device=device)
    with use_backend(backend):
        torch.library.opcheck(torch.ops.dht_mm.decode_pixels.default, arguments)
        torch.library.opcheck(torch.ops.dht_mm.decode_pixels_backward.default,
                              (grad, *(part.detach() if isinstance(part, Tensor) else part for part in arguments)))


def test_bad_input_is_named(device: str):
    table, kernel, scene, colours = to(draw(), device)
    with pytest.raises(ValueError, match=r'table must have \d+ or \d+ rows .* got shape'):
        decode_pixels(table[1:], kernel, scene, colours)
    with pytest.raises(TypeError, match='labels and offsets must be integers'):
        decode_pixels(table, kernel, scene._replace(labels=scene.labels.float()), colours)
    with pytest.raises(ValueError, match=r'colours must be .* 3 images, 5 rows and 23 columns, got shape'):
        decode_pixels(table, kernel, scene, colours, slice(0, 5))
    with pytest.raises(TypeError, match='rows and columns must be slices or int64, got torch.float32'):
        decode_pixels(table, kernel, scene, colours, torch.zeros(19, device=device))
    with pytest.raises(ValueError, match='rows and columns must be vectors'):
        decode_pixels(table, kernel, scene, colours, torch.zeros(19, 1, dtype=torch.int64, device=device))
    if device == 'cpu':
        with pytest.raises((ValueError, IndexError)):
            decode_pixels(table, kernel, scene._replace(labels=scene.labels + 100), colours)
        with pytest.raises((ValueError, IndexError), match='19|range'):
            decode_pixels(table, kernel, scene, colours[:, :, :1], torch.tensor([19]))
        for backend in ('auto', 'torch'):
            with use_backend(backend), pytest.raises(ValueError, match=r'columns must be in \[0, 23\), got -1'):
                decode_pixels(table, kernel, scene, colours[..., :1], columns=torch.tensor([-1]))
