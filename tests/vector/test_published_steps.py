"""The published steps give the golden polygons, curves and documents."""

import re
from pathlib import Path

import numpy as np
import pytest
from label_maps import noise

from dht_mm.vector import vectorize_published
from dht_mm.vector.published import outer_polygons, published_curves
from dht_mm.vector.simplify import drop_flat_corners
from dht_mm.vector.smooth import cut_corners
from dht_mm.vector.trace import trace

NUMBER = r'-?\d+\.?\d*'


@pytest.fixture(scope='module', params=['cityhydrant_64x64', 'oldkitchen_128x192'])
def golden(request: pytest.FixtureRequest, shared: Path) -> dict:
    path = shared / f'golden/svg_{request.param}.npz'
    return dict(np.load(path)) | {'svg': path.with_suffix('.svg').read_text()}


def test_polygons(golden: dict):
    polygons = outer_polygons(trace(golden['seg']))
    ids, _, y, x = golden['paths']
    np.testing.assert_array_equal(np.concatenate(polygons), np.stack([x, y], 1))
    np.testing.assert_array_equal(np.repeat(np.arange(len(polygons)), [len(polygon) for polygon in polygons]), ids)


def test_curves(golden: dict):
    found = list(published_curves(golden['seg']))
    np.testing.assert_array_equal(np.concatenate([[region] * len(curves) for region, curves in found]), golden['curve_ids'])
    curves = np.concatenate([curves for _, curves in found]).transpose(1, 2, 0)
    np.testing.assert_allclose(curves, golden['curve_points'], atol=1e-4)


def test_document(golden: dict):
    ours = vectorize_published(golden['image'], golden['seg'])
    paths = [re.findall('<path .*', svg) for svg in (ours, golden['svg'])]
    for line, expected in zip(*paths, strict=True):
        assert re.sub(NUMBER, '#', line) == re.sub(NUMBER, '#', expected)
        numbers = [[float(number) for number in re.findall(NUMBER, text)] for text in (line, expected)]
        np.testing.assert_allclose(*numbers, atol=1.01e-3)
    rects = [re.findall('x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)" fill="(.*?)"', svg) for svg in (ours, golden['svg'])]
    for (*place, color), (*expected_place, expected_color) in zip(*rects, strict=True):
        rgb = ','.join(str(int(color[start:start + 2], 16)) for start in (1, 3, 5))
        assert place == expected_place and f'rgb({rgb})' == expected_color


def test_simplification_and_smoothing_of_a_square():
    square = np.array([[0, 0], [2, 0], [4, 0], [4, 4], [0, 4]], float)
    corners = drop_flat_corners(square, 0)
    assert corners.tolist() == [[0, 0], [4, 0], [4, 4], [0, 4]]
    assert cut_corners(corners).tolist() == [[1, 0], [3, 0], [4, 1], [4, 3], [3, 4], [1, 4], [0, 3], [0, 1]]
    assert len(drop_flat_corners(corners, 16)) == 0 and len(drop_flat_corners(corners, 15)) == 4


def test_any_image_and_bad_options():
    image = np.zeros((3, 5, 3), np.uint8)
    assert '<path' in vectorize_published(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), int), thresholds=(0, 0, 0))
    assert vectorize_published(image, noise(3, 5, 4), background=False).count('<rect') == 0
    with pytest.raises(ValueError, match='thresholds must be three finite numbers, got'):
        vectorize_published(image, noise(3, 5, 4), thresholds=(0, 1))
    with pytest.raises(ValueError, match='stroke must be'):
        vectorize_published(image, noise(3, 5, 4), stroke=-1)
