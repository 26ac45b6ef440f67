"""Colours of pixels and of what is around them, against a loop over pixels."""

import pytest
import torch
from region_cases import needs_library
from torch import Tensor

from dht_mm.ops import surroundings, use_backend


def image_of(batch: int = 2, channels: int = 3, height: int = 13, width: int = 22) -> Tensor:
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0))


def slow(image: Tensor, near: int, wide: int | None) -> Tensor:
    batch, channels, height, width = image.shape
    result = torch.zeros(batch, channels * (5 if wide else 2), height, width)
    for y in range(height):
        for x in range(width):
            around = [image[:, :, max(y - side // 2, 0):y + side // 2 + 1, max(x - side // 2, 0):x + side // 2 + 1].flatten(2)
                      for side in ((near, wide) if wide else (near,))]
            parts = [image[:, :, y, x], *(part.mean(2) for part in around)]
            if wide:
                parts += [part.std(2, correction=0) for part in around]
            result[:, :, y, x] = torch.cat(parts, 1)
    return result


@pytest.mark.parametrize('backend', ['torch', pytest.param('ext', marks=needs_library)])
@pytest.mark.parametrize('shape', [(2, 3, 13, 22), (1, 1, 1, 1), (1, 2, 1, 9), (3, 4, 30, 2)])
@pytest.mark.parametrize('wide', [None, 7])
def test_is_what_a_loop_over_pixels_gives(device: str, backend: str, shape: tuple[int, ...], wide: int | None):
    image = image_of(*shape)
    with use_backend(backend):
        found = surroundings(image.to(device), 5, wide)
    torch.testing.assert_close(found.cpu(), slow(image, 5, wide), atol=2e-3 if wide else 1e-5, rtol=1e-4)  # roots of rounding errors


@pytest.mark.parametrize('backend', ['torch', pytest.param('ext', marks=needs_library)])
def test_bands_and_lattices_are_parts_of_the_map(device: str, backend: str):
    image = image_of(height=40).to(device)
    with use_backend(backend):
        whole = surroundings(image, 5, 17)
        for top in range(0, 40, 7):
            assert torch.equal(surroundings(image, 5, 17, slice(top, top + 7)), whole[:, :, top:top + 7])
        rows, columns = torch.tensor([39, 0, 4], device=device), torch.tensor([7], device=device)
        assert torch.equal(surroundings(image, 5, 17, rows, columns), whole[:, :, [39, 0, 4], 7:8])
        assert surroundings(image, 5, None, slice(0, 0)).shape == (2, 6, 0, 22)
        assert torch.equal(surroundings(image[1:], 5, 17)[0], whole[1])


def test_even_colours_deviate_by_nothing(device: str):
    found = surroundings(torch.full((1, 1, 9, 9), 0.3, device=device), 5, 7)
    torch.testing.assert_close(found[:, :3], torch.full_like(found[:, :3], 0.3))
    assert found[:, 3:].max() < 1e-3


@pytest.mark.parametrize('backend', ['torch', pytest.param('ext', marks=needs_library)])
def test_opcheck(device: str, backend: str):
    rows, columns = torch.arange(2, 7, device=device), torch.arange(0, 22, 4, device=device)
    with use_backend(backend):
        for wide in (0, 7):
            torch.library.opcheck(torch.ops.dht_mm.surroundings.default, (image_of().to(device), rows, columns, 5, wide))


def test_bad_input_is_named(device: str):
    image = image_of().to(device)
    with pytest.raises(TypeError, match='image must be floating point, got torch.int64'):
        surroundings(image.long(), 5)
    with pytest.raises(ValueError, match=r'image must be \[B, C, H, W\], got shape \(3, 13, 22\)'):
        surroundings(image[0], 5)
    with pytest.raises(ValueError, match='near must be an odd positive integer, got 4'):
        surroundings(image, 4)
    with pytest.raises(ValueError, match='wide must be an odd positive integer, got 0'):
        surroundings(image, 5, 0)
    if device == 'cpu':
        with pytest.raises(ValueError, match=r'rows must be in \[0, 13\), got 13'):
            surroundings(image, 5, rows=torch.tensor([2, 13]))
        for backend in ('auto', 'torch'):
            with use_backend(backend), pytest.raises(ValueError, match=r'columns must be in \[0, 22\), got -1'):
                surroundings(image, 5, columns=torch.tensor([0, -1]))
