"""Squares that are split where the image varies."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from partition_checks import check_partition, fields_of, same_bits

from dht_mm.registry import MODELS
from dht_mm.tokenizer import QuadtreeTokenizer

DOT = torch.zeros(1, 1, 8, 8)
DOT[0, 0, 5, 2] = 1


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """Noise whose strength grows to the right, so that squares are split there first."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * torch.linspace(0, 1, shape[-1])


def test_only_the_squares_around_a_dot_are_split():
    rows = QuadtreeTokenizer(None, 2)(DOT).labels[0].tolist()
    assert rows[:4] == [[0, 0, 0, 0, 1, 1, 1, 1]] * 4
    assert rows[4:6] == [[2, 2, 3, 3, 4, 4, 4, 4]] * 2
    assert rows[6:] == [[5, 5, 6, 6, 4, 4, 4, 4]] * 2
    assert QuadtreeTokenizer(None, 1)(DOT).num_regions.tolist() == [10]


def test_threshold_is_the_variance_of_the_pixels():
    of_image = 1 / 64 * 63 / 64
    assert QuadtreeTokenizer(None, 2, threshold=of_image * 1.01)(DOT).num_regions.tolist() == [1]
    assert QuadtreeTokenizer(None, 2, threshold=of_image * 0.99)(DOT).num_regions.tolist() == [7]
    assert QuadtreeTokenizer(None, 2, threshold=of_image * 0.99)(DOT.expand(1, 3, 8, 8) / 3**0.5).num_regions.tolist() == [7]


@pytest.mark.parametrize(('target', 'regions'), [(1, 1), (3, 1), (4, 4), (6, 4), (7, 7), (9, 7), (10, 10), (64, 10)])
def test_largest_error_is_split_first_up_to_the_target(target: int, regions: int):
    assert QuadtreeTokenizer(target, 1)(DOT).num_regions.tolist() == [regions]


def test_target_is_split_in_the_order_of_squared_errors():
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 0], image[0, 0, 3, 3] = 1, 2
    labels = QuadtreeTokenizer(7, 1)(image).labels[0].tolist()
    assert labels == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 4], [2, 2, 5, 6]]


@pytest.mark.parametrize('options', [dict(num_regions=None, min_size=1, threshold=0.3), dict(num_regions=None, min_size=3),
                                     dict(num_regions=20, min_size=2), dict(num_regions=9, min_size=100)])
@pytest.mark.parametrize('shape', [(2, 3, 16, 24), (1, 1, 7, 5), (3, 6, 1, 1), (2, 3, 9, 1), (1, 2, 3, 70)])
def test_partition_is_valid(shape: tuple[int, ...], options: dict):
    images = noise(*shape)
    partition = QuadtreeTokenizer(**options)(images)
    check_partition(partition, images, shape[1])
    assert torch.equal(partition.color, partition.mean)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 40), width=st.integers(1, 40), min_size=st.integers(1, 5), target=st.integers(1, 60), seed=st.integers(0, 99))
def test_target_is_kept_and_nearly_reached(height: int, width: int, min_size: int, target: int, seed: int):
    images = torch.randn(1, 2, height, width, generator=torch.Generator().manual_seed(seed))
    regions = QuadtreeTokenizer(target, min_size)(images).num_regions.item()
    most = -(-height // min_size) * -(-width // min_size)
    assert min(target - 2, most) <= regions <= min(target, most)


@pytest.mark.parametrize('target', [None, 30])
def test_an_images_result_is_its_own(target: int | None):
    images = torch.stack([noise(3, 21, 34, seed=seed) * (seed + 1) for seed in range(3)])
    tokenizer = QuadtreeTokenizer(target, 2, 0.2)
    together = tokenizer(images)
    assert len(set(together.num_regions.tolist())) > 1 or target
    for index in range(3):
        assert same_bits(fields_of(together, index), fields_of(tokenizer(images[index:index + 1]), 0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_gpu_gives_the_labels_of_the_cpu():
    images = noise(4, 3, 101, 67)
    for tokenizer in (QuadtreeTokenizer(None, 2, 0.2), QuadtreeTokenizer(200, 1)):
        assert torch.equal(tokenizer(images.cuda()).labels.cpu(), tokenizer(images).labels)


def test_built_from_a_config():
    assert MODELS.build(dict(type='dht_mm.QuadtreeTokenizer', num_regions=100)).num_regions == 100


@pytest.mark.parametrize(('option', 'value', 'kind'), [
    ('min_size', 0, 'a positive integer'), ('min_size', 2.0, 'a positive integer'), ('num_regions', 0, 'a positive integer'),
    ('num_regions', True, 'a positive integer'), ('threshold', -1, 'a number of at least 0'),
    ('threshold', float('nan'), 'a number of at least 0'), ('threshold', '0', 'a number of at least 0')])
def test_bad_options_are_named(option: str, value, kind: str):
    with pytest.raises(ValueError) as error:
        QuadtreeTokenizer(**dict(num_regions=9) | {option: value})
    assert str(error.value) == f'{option} must be {kind}, got {value!r}'


def test_bad_images_are_named():
    with pytest.raises(ValueError, match='images must be finite, got 2 NaN or infinite values'):
        QuadtreeTokenizer(9)(torch.full((1, 1, 1, 2), float('nan')))
