"""Partitions of given label maps: fields, pooling, painting, borders, and what is refused."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from dht_mm.structures import Partition


def draw_labels(seed: int, batch: int = 3, height: int = 7, width: int = 5) -> Tensor:
    """Random label maps numbered by first pixels; regions need not be connected."""
    values = np.random.default_rng(seed).integers(0, 9, (batch, height, width))
    maps = []
    for one in values:
        order = list(dict.fromkeys(one.flatten().tolist()))
        maps.append(np.vectorize(order.index)(one))
    return torch.from_numpy(np.stack(maps))


def draw_partition(seed: int, channels: int = 4) -> tuple[Partition, Tensor]:
    labels = draw_labels(seed)
    image = torch.randn(len(labels), channels, *labels.shape[1:], generator=torch.Generator().manual_seed(seed))
    return Partition.from_labels(labels, image), image


@pytest.mark.parametrize('seed', range(5))
def test_fields_equal_a_loop_over_regions(seed: int):
    partition, image = draw_partition(seed)
    row = 0
    for i, labels in enumerate(partition.labels):
        assert partition.offsets[i] == row
        for label in range(int(partition.num_regions[i])):
            y, x = (labels == label).nonzero(as_tuple=True)
            assert partition.size[row] == len(y)
            assert partition.bbox[row].tolist() == [y.min(), x.min(), y.max(), x.max()]
            torch.testing.assert_close(partition.mean[row], image[i][:, labels == label].mean(1))
            assert partition.image_index[row] == i and (partition.packed_labels[i][labels == label] == row).all()
            row += 1
    assert partition.offsets[-1] == row == partition.total_regions and len(partition) == 3


def test_integer_fields_are_int32_and_color_is_the_mean():
    partition, image = draw_partition(0)
    assert all(getattr(partition, name).dtype == torch.int32 for name in ('labels', 'num_regions', 'offsets', 'bbox', 'size'))
    assert partition.mean.dtype == image.dtype and torch.equal(partition.color, partition.mean)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_every_integer_type_of_labels_serves(dtype: torch.dtype):
    labels = torch.arange(256 if dtype == torch.uint8 else 300).view(1, 4, -1)
    partition = Partition.from_labels(labels.to(dtype), torch.zeros(1, 1, *labels.shape[1:]))
    assert torch.equal(partition.labels.long(), labels) and partition.num_regions.tolist() == [labels.numel()]


def test_pool_undoes_scatter():
    partition, _ = draw_partition(1)
    tokens = torch.randn(partition.total_regions, 6)
    painted = partition.scatter(tokens)
    assert painted.shape == (3, 6, 7, 5)
    assert torch.equal(painted.movedim(1, -1), tokens[partition.packed_labels])
    torch.testing.assert_close(partition.pool(painted), tokens)


def test_pool_and_scatter_gradcheck():
    partition, _ = draw_partition(2)
    features = torch.randn(3, 2, 7, 5, dtype=torch.float64, requires_grad=True)
    tokens = torch.randn(partition.total_regions, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(partition.pool, features, fast_mode=True)
    assert torch.autograd.gradcheck(partition.scatter, tokens, fast_mode=True)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_pool_keeps_the_dtype_and_adds_in_float64(dtype: torch.dtype):
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    partition = Partition.from_labels(labels, torch.zeros(1, 1, 64, 64))
    pooled = partition.pool(torch.full((1, 2, 64, 64), 100.0, dtype=dtype))
    assert pooled.dtype == dtype and pooled.tolist() == [[100.0, 100.0]]


def test_boundaries_equal_a_loop_over_neighbours():
    partition, _ = draw_partition(3)
    for labels, border in zip(partition.labels, partition.boundaries(), strict=True):
        for y, x in np.ndindex(*labels.shape):
            around = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            other = [labels[v, u] != labels[y, x] for v, u in around if 0 <= v < labels.shape[0] and 0 <= u < labels.shape[1]]
            assert border[y, x] == any(other)


def test_to_moves_every_field():
    partition = replace(draw_partition(4)[0], max_regions=7).to('meta')
    assert partition.max_regions == 7
    assert all(getattr(partition, field.name).device.type == 'meta' for field in fields(partition) if field.name != 'max_regions')


@pytest.mark.parametrize(('labels', 'message'), [
    ([[[0, 2]]], 'without gaps'), ([[[1, 0]]], 'in raster order of first pixels'), ([[[1, 1]]], 'from 0'),
    ([[[-1, 0]]], 'from 0'), ([[[-1, -1]]], 'from 0'), ([[[0, 0]], [[1, 1]]], 'from 0'), ([[[0, 10**15]]], 'without gaps'),
    ([[0, 1]], r'labels must be a non-empty integer \[B, H, W\], got torch.int64 of shape \(1, 2\)'),
    ([[[0.0, 1.0]]], 'labels must be a non-empty integer .* got torch.float32'),
    ([[[False, True]]], 'labels must be a non-empty integer .* got torch.bool'),
    ([[[]]], r'labels must be a non-empty integer .* of shape \(1, 1, 0\)')])
def test_bad_labels_are_named(labels: list, message: str):
    labels = torch.tensor(labels)
    with pytest.raises(ValueError, match=message):
        Partition.from_labels(labels.int() if labels.numel() == 0 else labels, torch.zeros(1, 1, *labels.shape[-2:]))


@pytest.mark.parametrize('shape', [(3, 7, 5), (2, 4, 7, 5), (3, 4, 5, 7), (3, 4, 7, 1)])
def test_maps_of_another_size_are_named(shape: tuple[int, ...]):
    partition, _ = draw_partition(0)
    with pytest.raises(ValueError, match=r'features must be \[B, D, H, W\] with B, H, W = 3, 7, 5, got shape ') as error:
        partition.pool(torch.zeros(shape))
    assert str(shape) in str(error.value)


def test_tokens_of_another_count_are_named():
    partition, _ = draw_partition(0)
    for shape in ((partition.total_regions + 1, 2), (partition.total_regions,)):
        with pytest.raises(ValueError, match=rf'tokens must be \[R, D\] with R = {partition.total_regions} regions, got shape '):
            partition.scatter(torch.zeros(shape))
