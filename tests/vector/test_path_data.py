"""What is written reads back as the curves, and as little as possible is written."""

import numpy as np
import pytest
from hypothesis import given
from label_maps import disc, noise, noisy
from path_parser import parse

from dht_mm.vector.borders import fit_borders
from dht_mm.vector.fit import Curves
from dht_mm.vector.path_data import path_data
from dht_mm.vector.trace import PlanarMap, trace


def expected(planar: PlanarMap, curves: Curves, region: int, steps: int) -> list[list[list[tuple[float, float]]]]:
    """Control points of each loop's pieces in units, pieces without extent left out."""
    loops = []
    for loop in np.flatnonzero(planar.regions == region):
        pieces = []
        for side in planar.sides[planar.loops[loop]:planar.loops[loop + 1]]:
            part = curves.controls[curves.starts[side // 2]:curves.starts[side // 2 + 1]]
            straight = curves.straight[curves.starts[side // 2]:curves.starts[side // 2 + 1]]
            order = range(len(part))[::-1 if side % 2 else 1]
            for index in order:
                points = np.rint(part[index][::-1 if side % 2 else 1] * steps)
                pieces.append(points[[0, 3]] if straight[index] else points)
        loops.append([[tuple(point) for point in piece] for piece in pieces if (piece != piece[0]).any()])
    return loops


def check(labels: np.ndarray, tolerance: float, steps: int) -> None:
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    size = np.bincount(labels.ravel())
    planar = trace(labels)
    curves = fit_borders(planar, size, tolerance, steps)
    written = path_data(planar, curves, steps, len(size))
    assert len(written) == len(size)
    for region, data in enumerate(written):
        read = [[[start, *points] for _, start, points in subpath] for subpath in parse(data)]
        assert read == expected(planar, curves, region, steps)


@given(noisy)
def test_small_maps_read_back(labels: np.ndarray):
    check(labels, 0.5, 4)


@pytest.mark.parametrize('tolerance', [0, 0.3, 1.0])
@pytest.mark.parametrize('steps', [1, 4, 100])
def test_curves_read_back(tolerance: float, steps: int):
    check(np.kron(noise(5, 6, 3), np.ones((6, 6), int)), tolerance, steps)
    check(disc(12), tolerance, steps)


def test_nothing_is_written_that_can_be_left_out():
    labels = np.array([[0, 1], [0, 1]])
    planar = trace(labels)
    assert path_data(planar, fit_borders(planar, np.array([2, 2]), 0.5, 10), 10, 2) == ['M0 20v-20h10v20z', 'M10 20v-20h10v20z']
