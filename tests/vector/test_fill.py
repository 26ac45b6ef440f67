"""Mean colours, and gradients that are least squares."""

import numpy as np
import pytest
from label_maps import noise

from dht_mm.vector.fill import fit_gradients, mean_colors, rounded


def painted(labels: np.ndarray, means: np.ndarray, image: np.ndarray, least_gain: float) -> np.ndarray:
    """The fills of an image by their definition: colour mixed by the place of the pixel's centre between the ends. ``[H, W, 3]``."""
    result = means[labels]
    gradients = fit_gradients(image, labels, means, least_gain)
    y, x = np.indices(labels.shape) + 0.5
    for region, (start, end), (first, last) in zip(*gradients, strict=True):
        axis = end - start
        place = np.clip(((x - start[0]) * axis[0] + (y - start[1]) * axis[1]) / max(axis @ axis, 1e-9), 0, 1)[..., None]
        result = np.where((labels == region)[..., None], first + place * (last.astype(float) - first), result)
    return result


def test_means_and_rounding():
    image = np.array([[[0, 10, 255], [1, 20, 255], [7, 7, 7]]], np.uint8)
    assert mean_colors(image, np.array([[0, 0, 1]])).tolist() == [[0.5, 15, 255], [7, 7, 7]]
    assert rounded(np.array([[0.5, 1.49, 300]])).tolist() == [[1, 1, 255]]


def test_a_ramp_is_found_with_its_direction_and_ends():
    y, x = np.indices((20, 30))
    image = np.stack([3 * x + 4 * y, 200 - 3 * x - 4 * y, np.full_like(x, 9)], -1).astype(np.uint8)
    labels = np.zeros((20, 30), int)
    means = mean_colors(image, labels)
    gradients = fit_gradients(image, labels, means, 100.0)
    axis = gradients.ends[0, 1] - gradients.ends[0, 0]
    assert axis[1] / axis[0] == pytest.approx(4 / 3, rel=1e-3)
    assert sorted(gradients.colors[0].tolist()) == [[0, 200, 9], [163, 37, 9]]
    assert np.abs(painted(labels, means, image, 100.0) - image).max() < 0.51


def test_grey_gradients_are_the_least_squares_plane():
    rng = np.random.default_rng(0)
    labels = np.kron(noise(3, 3, 9, seed=1), np.ones((7, 7), int))
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    y, x = np.indices(labels.shape)
    grey = np.clip(100 + 3 * x * (labels % 2) - 2 * y + rng.normal(0, 3, labels.shape), 60, 200).astype(np.uint8)
    image = np.repeat(grey[..., None], 3, 2)
    means = mean_colors(image, labels)
    result = painted(labels, means, image, 0.0)
    for region in range(labels.max() + 1):
        mask = labels == region
        design = np.stack([np.ones(mask.sum()), x[mask], y[mask]], 1)
        plane = design @ np.linalg.lstsq(design, grey[mask].astype(float), rcond=None)[0]
        assert np.abs(result[mask][:, 0] - plane).max() < 0.7  # colours of the ends are rounded; pixels are squares, not points


def test_gradients_lower_the_error_and_only_where_they_must_gain():
    labels = np.unique(np.kron(noise(4, 4, 6), np.ones((6, 6), int)), return_inverse=True)[1].reshape(24, 24)
    image = np.random.default_rng(1).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    means = mean_colors(image, labels)
    counts = [len(fit_gradients(image, labels, means, gain).regions) for gain in (0.0, 3e4, np.inf)]
    assert counts[0] == labels.max() + 1 > counts[1] > counts[2] == 0
    errors = [((painted(labels, means, image, gain) - image) ** 2).sum() for gain in (0.0, np.inf)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (9, 1)])
def test_thin_images(shape: tuple[int, int]):
    image = np.arange(np.prod(shape) * 3).reshape(*shape, 3).astype(np.uint8)
    labels = np.zeros(shape, int)
    assert np.isfinite(painted(labels, mean_colors(image, labels), image, 0.0)).all()
