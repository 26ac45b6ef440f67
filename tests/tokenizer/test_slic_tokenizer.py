"""SLIC of scikit-image as a tokenizer."""

import numpy as np
import pytest
import torch
from normalized import normalize
from partition_checks import check_partition, count_pieces, fields_of, same_bits

from dht_mm.registry import MODELS
from dht_mm.tokenizer import SLICTokenizer, slic

segmentation = pytest.importorskip('skimage.segmentation')


def pictures(batch: int = 2, height: int = 40, width: int = 60) -> np.ndarray:
    """``[B, H, W, 3]`` uint8: blobs of colour with noise."""
    random = np.random.default_rng(0)
    blobs = np.kron(random.integers(0, 200, (batch, height // 10 + 1, width // 10 + 1, 3)), np.ones((1, 10, 10, 1)))
    return (blobs[:, :height, :width] + random.integers(0, 56, (batch, height, width, 3))).astype(np.uint8)


def test_labels_are_those_of_scikit_image_in_connected_pieces():
    levels = pictures()
    images = torch.cat([normalize(picture) for picture in levels])
    partition = SLICTokenizer(40, compactness=3.0)(images)
    check_partition(partition, images, 3)
    for labels, picture in zip(partition.labels.numpy(), levels, strict=True):
        expected = segmentation.slic(picture, 40, 3.0, start_label=0)
        pairs = np.unique(np.stack([labels.ravel(), expected.ravel()]), axis=1)
        assert pairs.shape[1] == labels.max() + 1 == count_pieces(expected), 'every region lies in one superpixel'


def test_unconnected_superpixels_are_cut(monkeypatch):
    checkers = np.indices((4, 6)).sum(0) % 2
    monkeypatch.setattr(segmentation, 'slic', lambda *_, **__: checkers)
    assert SLICTokenizer(2)(torch.zeros(1, 3, 4, 6)).labels[0].tolist() == np.arange(24).reshape(4, 6).tolist()


def test_an_images_result_is_its_own():
    images = torch.cat([normalize(picture) for picture in pictures(3)])
    together = SLICTokenizer(30)(images)
    for index in range(3):
        assert same_bits(fields_of(together, index), fields_of(SLICTokenizer(30)(images[index:index + 1]), 0))


@pytest.mark.parametrize('shape', [(1, 1), (1, 7), (5, 3)])
@pytest.mark.parametrize('regions', [1, 100])
def test_small_images(shape: tuple[int, int], regions: int):
    images = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    check_partition(SLICTokenizer(regions)(images), images, 3)


def test_built_from_a_config():
    assert MODELS.build(dict(type='dht_mm.SLICTokenizer', num_regions=100)).num_regions == 100


@pytest.mark.parametrize(('option', 'value', 'message'), [
    ('num_regions', 0, 'num_regions must be a positive integer, got 0'),
    ('compactness', 0, 'compactness must be a positive number, got 0'),
    ('std', (1.0,), 'std must be three numbers, of red, green and blue, got (1.0,)')])
def test_bad_options_are_named(option: str, value, message: str):
    with pytest.raises(ValueError) as error:
        SLICTokenizer(**dict(num_regions=10) | {option: value})
    assert str(error.value) == message


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(slic, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match='SLICTokenizer needs scikit-image, which is not installed: pip install scikit-image'):
        SLICTokenizer(10)


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match='images must have in_channels = 3 channels, got 1'):
        SLICTokenizer(10)(torch.zeros(1, 1, 4, 4))
