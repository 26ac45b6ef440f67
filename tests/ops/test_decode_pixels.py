"""Logits of pixels: the kernels give what plain tensor operations do."""

import pytest
import torch
from partitions import random_case
from region_cases import needs_library
from torch import Tensor

from dht_mm.ops import PixelScene, decode_pixels, use_backend
from dht_mm.ops.decode_pixels import _decode_pixels
from dht_mm.ops.reference.decode_pixels import decode_pixels as reference

Case = tuple[Tensor, Tensor | None, PixelScene]
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
    scene = PixelScene(partition.labels, partition.offsets, means, partition.size, boxes, colours, steps, 3 * channels, side)
    table = torch.randn(regions * (side**2 + planes * features), classes, generator=random)
    return table, torch.tensor([2.0, 0.5, 1.0]) if kernel else None, scene


def to(case: Case, device: str) -> Case:
    table, kernel, scene = case
    scene = PixelScene(*(part.to(device) if isinstance(part, Tensor) else part for part in scene))
    return table.to(device), None if kernel is None else kernel.to(device), scene


@needs_library
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_kernels_give_what_the_reference_gives(device: str, options: dict):
    case = draw(**options)
    expected = reference(*case, slice(None), slice(None)).movedim(-1, 1)
    with use_backend('ext'):
        found = decode_pixels(*to(case, device))
        torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=1e-4)
        part = decode_pixels(*to(case, device), rows=slice(3, 10))
        again = decode_pixels(*to(case, device))
    assert torch.equal(part, found[:, :, 3:10]) and torch.equal(found, again)
    assert found.movedim(1, -1).is_contiguous()


@needs_library
def test_an_image_does_not_depend_on_the_batch(device: str):
    table, kernel, scene = to(draw(features=False), device)
    whole = decode_pixels(table, kernel, scene)
    for image in range(3):
        first, end = scene.offsets[image:image + 2].tolist()
        alone = PixelScene(scene.labels[image:image + 1], scene.offsets[image:image + 2] - first, *(part[first:end] for part in scene[2:5]),
                           scene.colours[image:image + 1], scene.steps[image:image + 1], scene.centred, scene.side)
        assert torch.equal(decode_pixels(table[first * 16:end * 16], kernel, alone)[0], whole[image])


def test_lattices_and_gradients_take_the_reference(device: str):
    table, kernel, scene = to(draw(), device)
    rows, columns = torch.tensor([5, 0], device=device), slice(2, None, 4)
    torch.testing.assert_close(decode_pixels(table, kernel, scene, rows, columns), decode_pixels(table, kernel, scene)[:, :, [5, 0], 2::4],
                               atol=1e-4, rtol=1e-4)
    decode_pixels(table.requires_grad_(), kernel.requires_grad_(), scene).square().sum().backward()
    assert table.grad.any() and kernel.grad.all()


def test_gradcheck():
    table, kernel, scene = draw(batch=2, height=4, width=5, seeds=3, classes=2, channels=1, side=2, mixed=2)
    scene = PixelScene(*(part.double() if isinstance(part, Tensor) and part.is_floating_point() else part for part in scene))
    leaves = table.double().requires_grad_(), kernel.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda *leaves: decode_pixels(*leaves, scene), leaves)


@pytest.mark.parametrize('backend', ['torch', pytest.param('ext', marks=needs_library)])
@pytest.mark.parametrize('options', OPTIONS[:3], ids=str)
def test_opcheck(device: str, backend: str, options: dict):
    table, kernel, scene = to(draw(**options), device)
    with use_backend(backend):
        torch.library.opcheck(torch.ops.dht_mm.decode_pixels.default, (table, kernel, *scene, 2, 5))
    assert _decode_pixels(table, kernel, *scene, 2, 0).shape == (3, 0, 23, 11)


def test_bad_input_is_named(device: str):
    table, kernel, scene = to(draw(), device)
    with pytest.raises(ValueError, match=r'table must have \d+ or \d+ rows .* got shape'):
        decode_pixels(table[1:], kernel, scene)
    with pytest.raises(TypeError, match='labels and offsets must be integers'):
        decode_pixels(table, kernel, scene._replace(labels=scene.labels.float()))
    if device == 'cpu':
        with pytest.raises((ValueError, IndexError)):
            decode_pixels(table, kernel, scene._replace(labels=scene.labels + 100))
