"""All groups of features together, and on every device."""

import re

import pytest
import torch
from partitions import random_case
from torch import Tensor

from dht_mm.features import RegionFeatures
from dht_mm.structures import Partition


def rows_and_gradient(features: RegionFeatures, image: Tensor, partition: Partition) -> tuple[list[Tensor], Tensor]:
    """Rows of all groups, and the gradient of their squares to the shift of the pixels."""
    shift = torch.full_like(partition.color, 0.5).requires_grad_()
    rows = features(image, partition, shift)
    sum(group.square().sum() for group in rows).backward()
    return rows, shift.grad


def test_groups_come_in_the_order_pixels_position_gradient():
    image, partition = random_case()
    features = RegionFeatures(3, 4, (2, 3), gradient=True)
    rows, gradient = rows_and_gradient(features, image, partition)
    assert features.dims == dict(pixels=48, position=6, gradient=16) and gradient.any()
    assert [*features.dims.values()] == [group.shape[1] for group in rows]
    assert torch.equal(rows[2], features.gradient(image, partition))
    assert RegionFeatures(3, 4, (2, 3)).dims == dict(pixels=48, position=6)


def test_windows_have_pixels_position_texture_and_form():
    image, partition = random_case()
    features = RegionFeatures(3, 4, (2, 3), gradient=True, crop='window', window_size=5)
    rows, gradient = rows_and_gradient(features, image, partition)
    assert features.dims == dict(pixels=48, position=6, gradient=16, form=27) and gradient.any()
    assert [*features.dims.values()] == [group.shape[1] for group in rows]
    windows = features.find_windows(partition)
    pixels, mask = windows.cut(image, partition)
    assert torch.equal(rows[0], pixels.flatten(1))
    torch.testing.assert_close(rows[1].sum(1) * (features.position.scale / 32)**2, torch.ones(partition.total_regions))
    assert all(torch.equal(*pair) for pair in zip(rows[:3], features(image, partition, windows=windows), strict=False))
    assert torch.equal(rows[3], features.form(image, partition, windows, mask, torch.full_like(partition.color, 0.5)))
    assert RegionFeatures(3, 4, 2).find_windows(partition) is None


@pytest.mark.parametrize('options', [
    dict(crop='circle'), dict(window_size=4), dict(crop='window', window_size=0.5), dict(crop='window', window_size=float('inf')),
    dict(crop='window', window_size=(4, 4, 4)), dict(crop='window', window_size='4'), dict(crop='window', window_size=True)])
def test_wrong_crops_are_refused(options: dict):
    name = [*options][-1]
    with pytest.raises(ValueError, match=f'{name} must be .* got {re.escape(repr(options[name]))}'):
        RegionFeatures(3, 4, 2, **options)


@torch.no_grad()
def test_pixels_are_those_of_the_shifted_image_and_the_rest_is_not():
    image, partition = random_case()
    features = RegionFeatures(3, 4, 2, gradient=True)
    shift = torch.randn_like(partition.color)
    plain, shifted = features(image, partition), features(image, partition, shift)
    torch.testing.assert_close(shifted[0], features.pixels(image + partition.scatter(shift), partition))
    assert not torch.equal(plain[0], shifted[0]) and torch.equal(plain[1], shifted[1]) and torch.equal(plain[2], shifted[2])


@pytest.mark.parametrize('crop', ['box', 'window'])
@torch.no_grad()
def test_rows_of_an_image_do_not_depend_on_the_batch(crop: str):
    image, partition = random_case(batch=3)
    features = RegionFeatures(3, 4, 5, gradient=True, crop=crop)
    whole = features(image, partition, partition.color)
    for index in range(3):
        alone = Partition.from_labels(partition.labels[index:index + 1], image[index:index + 1])
        rows = features(image[index:index + 1], alone, alone.color)
        assert all(torch.equal(row, group[partition.image_index == index]) for row, group in zip(rows, whole, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('crop', ['box', 'window'])
def test_a_gpu_gives_the_same_rows(crop: str):
    image, partition = random_case(batch=4, height=97, width=131, seeds=60)
    features = RegionFeatures(3, 16, 14, gradient=True, crop=crop)
    rows, gradient = rows_and_gradient(features, image, partition)
    gpu_rows, gpu_gradient = rows_and_gradient(features.cuda(), image.cuda(), partition.to('cuda'))
    assert torch.allclose(gpu_rows[0].cpu(), rows[0], atol=1e-5)
    atol = 0 if crop == 'box' else 1e-5  # interpolated positions
    assert all(torch.allclose(gpu.cpu(), row, rtol=1e-6, atol=atol) for gpu, row in zip(gpu_rows[1:], rows[1:], strict=True))
    assert torch.allclose(gpu_gradient.cpu(), gradient, atol=1e-3 * gradient.abs().max().item())
