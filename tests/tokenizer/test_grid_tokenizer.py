"""The grid of squares as a partition."""

import pytest
import torch
from partition_checks import check_partition

from dht_mm.registry import MODELS
from dht_mm.tokenizer import GridTokenizer


def test_cells_are_numbered_row_by_row_and_cut_off_at_the_border():
    images = torch.arange(24.0).view(1, 1, 4, 6)
    partition = GridTokenizer(4)(images[:, :, :3])
    assert partition.labels.tolist() == [[[0, 0, 0, 0, 1, 1]] * 3]
    assert partition.bbox.tolist() == [[0, 0, 2, 3], [0, 4, 2, 5]] and partition.size.tolist() == [12, 6]
    assert partition.mean.tolist() == [[7.5], [10.5]]
    quarter = GridTokenizer(2)(images)
    assert quarter.labels[0, ::2, ::2].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize('patch_size', [1, 3, 8, 100])
@pytest.mark.parametrize('shape', [(2, 3, 16, 24), (1, 1, 7, 5), (3, 6, 1, 1), (2, 3, 9, 1)])
def test_partition_is_valid(shape: tuple[int, ...], patch_size: int):
    images = torch.randn(shape)
    partition = GridTokenizer(patch_size)(images)
    check_partition(partition, images, shape[1])
    cells = -(-shape[2] // patch_size) * -(-shape[3] // patch_size)
    assert partition.num_regions.tolist() == [cells] * shape[0]
    assert torch.equal(partition.color, partition.mean)


def test_mean_is_that_of_average_pooling():
    images = torch.randn(2, 3, 16, 24)
    expected = torch.nn.functional.avg_pool2d(images, 8).flatten(2).mT.flatten(0, 1)
    torch.testing.assert_close(GridTokenizer(8)(images).mean, expected)


def test_built_from_a_config():
    assert MODELS.build(dict(type='dht_mm.GridTokenizer', patch_size=16)).patch_size == 16


@pytest.mark.parametrize('patch_size', [0, -16, 8.0, True, None, (16, 16)])
def test_bad_patch_size_is_named(patch_size):
    with pytest.raises(ValueError) as error:
        GridTokenizer(patch_size)
    assert str(error.value) == f'patch_size must be a positive integer, got {patch_size!r}'


@pytest.mark.parametrize(('images', 'error', 'message'), [
    (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), TypeError, 'images must be floating point .* got torch.uint8'),
    (torch.zeros(3, 4, 4), ValueError, r'images must be \[B, C, H, W\], got shape \(3, 4, 4\)'),
    (torch.zeros(0, 3, 4, 4), ValueError, r'at least one pixel of one image, got shape \(0, 3, 4, 4\)'),
    (torch.zeros(1, 3, 4, 0), ValueError, r'at least one pixel of one image, got shape \(1, 3, 4, 0\)'),
    (torch.full((1, 1, 1, 2), float('nan')), ValueError, 'images must be finite, got 2 NaN or infinite values')])
def test_bad_images_are_named(images: torch.Tensor, error: type, message: str):
    with pytest.raises(error, match=message):
        GridTokenizer(2)(images)
