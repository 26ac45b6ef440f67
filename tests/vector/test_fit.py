"""Curves stay within the tolerance, keep the arcs' ends, and are few."""

import numpy as np
import pytest
from label_maps import disc, noise, rings

from dht_mm.vector.area import region_areas
from dht_mm.vector.borders import fit_borders, pixel_outline
from dht_mm.vector.fit import Curves, fit
from dht_mm.vector.joints import smooth_joints
from dht_mm.vector.samples import Samples, sample
from dht_mm.vector.trace import trace

MAPS = {'noise': noise(30, 40, 3), 'disc': disc(20), 'rings': rings(6), 'blobs': np.kron(noise(6, 8, 4, seed=2), np.ones((5, 5), int))}


def points_on(curves: Curves, arc: int, count: int = 200) -> np.ndarray:
    """Many points along the pieces of an arc: ``[n, 2]``."""
    u = np.linspace(0, 1, count)[:, None, None]
    pieces = curves.controls[curves.starts[arc]:curves.starts[arc + 1]]
    weights = ((1 - u) ** 3, 3 * u * (1 - u) ** 2, 3 * u**2 * (1 - u), u**3)
    return sum(weight * pieces[:, index] for index, weight in enumerate(weights)).reshape(-1, 2)


@pytest.mark.parametrize('name', MAPS)
@pytest.mark.parametrize('tolerance', [0.2, 0.5, 1.5])
def test_samples_are_within_the_tolerance_of_chains_that_keep_their_ends(name: str, tolerance: float):
    samples = sample(trace(MAPS[name]))
    curves = fit(samples, np.full(len(samples.starts) - 1, tolerance))
    for arc in range(len(samples.starts) - 1):
        points = samples.points[samples.starts[arc]:samples.starts[arc + 1]]
        pieces = curves.controls[curves.starts[arc]:curves.starts[arc + 1]]
        assert (pieces[0, 0] == points[0]).all() and (pieces[-1, 3] == points[-1]).all()
        assert (pieces[1:, 0] == pieces[:-1, 3]).all()
        distance = np.linalg.norm(points[:, None] - points_on(curves, arc)[None], axis=2).min(1)
        assert distance.max() <= tolerance + 0.02  # of which 0.02 for the points between those on the curve


def test_staircase_becomes_one_line():
    planar = trace(np.tri(20, 20, -1, dtype=int))
    curves = fit_borders(planar, np.bincount(np.tri(20, 20, -1, dtype=int).ravel()), 0.5, 4)
    diagonal = np.flatnonzero((planar.left == 0) & (planar.right == 1))[0]
    assert curves.starts[diagonal + 1] - curves.starts[diagonal] == 1 and curves.straight[curves.starts[diagonal]]


def test_circle_takes_few_pieces_and_has_its_area():
    labels = disc(20)
    size = np.bincount(labels.ravel())
    planar = trace(labels)
    curves = fit_borders(planar, size, 0.5, 4)
    circle = np.flatnonzero(planar.closed)[0]
    assert curves.starts[circle + 1] - curves.starts[circle] <= 12
    assert region_areas(planar, curves, 2) == pytest.approx(size, rel=0.01)
    radius = np.linalg.norm(points_on(curves, circle) - (23, 23) + 0.5, axis=1)
    assert 19.4 < radius.min() and radius.max() < 21.1


@pytest.mark.parametrize('name', MAPS)
@pytest.mark.parametrize('tolerance', [0, 0.5, 3.0, 100.0])
def test_no_region_is_lost_and_areas_add_up_to_the_image(name: str, tolerance: float):
    labels = MAPS[name]
    size = np.bincount(labels.ravel())
    planar = trace(labels)
    areas = region_areas(planar, fit_borders(planar, size, tolerance, 4), len(size))
    assert (areas >= size / 2).all() and areas.sum() == pytest.approx(labels.size)


def test_single_pixels_survive():
    labels = np.arange(12).reshape(3, 4)
    planar = trace(labels)
    areas = region_areas(planar, fit_borders(planar, np.ones(12, int), 5.0, 4), 12)
    assert areas == pytest.approx(np.ones(12))


def test_pixel_outline_follows_every_corner():
    planar = trace(MAPS['noise'])
    curves = pixel_outline(planar, np.arange(len(planar.right)))
    assert curves.straight.all()
    assert region_areas(planar, curves, 3) == pytest.approx(np.bincount(MAPS['noise'].ravel()))


def test_closed_arcs_enclose_the_area_of_their_pixels():
    planar = trace(np.pad(np.ones((1, 1), int), 2))
    samples, island = sample(planar), np.flatnonzero(planar.closed)[0]
    points = samples.points[samples.starts[island]:samples.starts[island + 1]]
    x, y = points.T
    assert (points[0] == points[-1]).all()
    assert abs(x[:-1] @ y[1:] - x[1:] @ y[:-1]) / 2 == pytest.approx(1)


def test_two_points_make_a_line():
    curves = fit(Samples(np.array([[0.0, 0.0], [3.0, 0.0]]), np.array([0, 2])), np.zeros(1))
    assert curves.straight.all() and curves.controls[0].tolist() == [[0, 0], [1, 0], [2, 0], [3, 0]]


def test_blunt_joints_are_smoothed_within_reach_and_corners_stay():
    def chain(*points: tuple[float, float]) -> Curves:
        ends = np.array(points, float)
        start, end = ends[:-1, None], ends[1:, None]
        lines = start + (end - start) * np.array([0, 1 / 3, 2 / 3, 1])[:, None]
        return Curves(lines, np.ones(len(lines), bool), np.array([0, len(lines)]))

    blunt, sharp = chain((0, 0), (6, 0), (12, 2)), chain((0, 0), (6, 0), (6, 6))
    smooth = smooth_joints(blunt, 0.5)
    arrive, leave = smooth.controls[0, 3] - smooth.controls[0, 2], smooth.controls[1, 1] - smooth.controls[1, 0]
    assert arrive[0] * leave[1] == pytest.approx(arrive[1] * leave[0]) and not smooth.straight.any()
    distance = np.linalg.norm(points_on(smooth, 0) - points_on(blunt, 0), axis=1)
    assert 0 < distance.max() <= 0.5
    for unchanged in (smooth_joints(sharp, 9.0), smooth_joints(blunt, 0.01)):
        assert unchanged.straight.all()


def test_joints_of_different_arcs_are_left_alone():
    samples = sample(trace(MAPS['blobs']))
    curves = fit(samples, np.full(len(samples.starts) - 1, 0.5))
    smooth = smooth_joints(curves, 0.5)
    assert (smooth.controls[:, [0, 3]] == curves.controls[:, [0, 3]]).all() and (smooth.starts == curves.starts).all()
    for arc in np.flatnonzero(np.diff(curves.starts) == 1):
        assert (smooth.controls[curves.starts[arc]] == curves.controls[curves.starts[arc]]).all()
