"""Explained variation, PSNR, compactness and K, by hand and against scikit-image."""

import math

import numpy as np
import pytest
import torch

from dht_mm.metrics import compactness, explained_variation, num_regions, psnr, reconstruct, reconstruction_psnr

HALVES = np.array([[0, 0, 1, 1]] * 4)
LOPSIDED = np.array([[0, 1, 1, 1]] * 4)
PICTURE = np.repeat(HALVES[..., None], 3, 2).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)
CELLS = np.arange(6)[:, None] // 2 * 3 + np.arange(7) // 3


def test_explained_variation_by_hand():
    assert explained_variation(HALVES, PICTURE) == 1
    assert explained_variation(np.zeros((4, 4), int), PICTURE) == 0
    assert explained_variation(LOPSIDED, PICTURE) == pytest.approx((4 * 0.25 + 12 * (2 / 3 - 0.5) ** 2) / (16 * 0.25))
    assert explained_variation(HALVES, np.full((4, 4, 1), 9, np.uint8)) == 1


def test_reconstruction_by_hand():
    assert reconstruct(LOPSIDED, PICTURE)[0, :, 0].tolist() == pytest.approx([0, 2 / 3, 2 / 3, 2 / 3])
    error = 12 / 16 * (2 / 3 * 1 / 3)  # 12 pixels of variance 2/9
    assert reconstruction_psnr(LOPSIDED, PICTURE) == pytest.approx(10 * math.log10(255**2 / error))
    assert reconstruction_psnr(HALVES, PICTURE) == math.inf


def test_reconstruction_against_scikit_image():
    segmentation = pytest.importorskip('skimage.measure')
    metrics = pytest.importorskip('skimage.metrics')
    expected = np.zeros(NOISE.shape)
    for region in segmentation.regionprops(CELLS + 1, intensity_image=NOISE):
        expected[CELLS + 1 == region.label] = region.intensity_mean
    np.testing.assert_allclose(reconstruct(CELLS * 5, NOISE).numpy(), expected, atol=1e-10)  # with gaps between labels
    assert reconstruction_psnr(CELLS, NOISE) == pytest.approx(metrics.peak_signal_noise_ratio(NOISE / 1.0, expected, data_range=255))
    explained = 1 - ((NOISE - expected) ** 2).sum() / ((NOISE - NOISE.mean((0, 1))) ** 2).sum()
    assert explained_variation(CELLS, NOISE) == pytest.approx(explained)  # the part that the regions leave, seen from the other side


def test_psnr_of_two_pictures():
    assert psnr(NOISE, NOISE) == math.inf
    assert psnr(NOISE // 2, torch.from_numpy(NOISE // 2 + 1)) == pytest.approx(20 * math.log10(255))


@pytest.mark.parametrize(('labels', 'expected'), [
    (np.zeros((1, 1), int), math.pi / 4),
    (np.zeros((5, 5), int), math.pi / 4),
    (np.zeros((1, 3), int), 4 * math.pi * 3 / 8**2),
    (HALVES, 4 * math.pi * 8 / 12**2),
    (LOPSIDED, (4 * 4 * math.pi * 4 / 10**2 + 12 * 4 * math.pi * 12 / 14**2) / 16),
    (LOPSIDED * 9, (4 * 4 * math.pi * 4 / 10**2 + 12 * 4 * math.pi * 12 / 14**2) / 16),
])
def test_compactness_by_hand(labels: np.ndarray, expected: float):
    assert compactness(labels) == pytest.approx(expected)


def test_number_of_regions():
    assert num_regions(CELLS) == 9 and num_regions(CELLS * 3 + 1) == 9 and num_regions(HALVES * 10**9) == 2


@pytest.mark.parametrize(('image', 'error', 'message'), [
    (PICTURE / 255, TypeError, 'image must be uint8, got torch.float64'),
    (PICTURE[..., 0], ValueError, r'image must be a non-empty picture \[H, W, C\], got shape \(4, 4\)'),
    (PICTURE[1:], ValueError, r'image must have the size of labels, \(4, 4\), got \(3, 4\)')])
def test_bad_images_are_named(image: np.ndarray, error: type, message: str):
    with pytest.raises(error, match=message):
        explained_variation(HALVES, image)


def test_psnr_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match=r'other must have the shape of image, \(4, 4, 3\), got \(3, 4, 3\)'):
        psnr(PICTURE, PICTURE[1:])
