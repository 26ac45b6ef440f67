"""The planar map holds every border once, and its loops enclose exactly the regions."""

import numpy as np
import pytest
from hypothesis import given
from label_maps import noise, noisy, rings

from dht_mm.vector.trace import OUTSIDE, PlanarMap, trace


def arc_points(planar: PlanarMap, arc: int) -> np.ndarray:
    return planar.points[planar.starts[arc]:planar.starts[arc + 1]]


def loop_points(planar: PlanarMap, loop: int) -> np.ndarray:
    """Corners of a loop, the first one again at the end, from sides that must join."""
    sides = planar.sides[planar.loops[loop]:planar.loops[loop + 1]]
    parts = [arc_points(planar, side // 2)[::-1 if side % 2 else 1] for side in sides]
    for part, following in zip(parts, parts[1:] + parts[:1], strict=True):
        assert (part[-1] == following[0]).all()
    return np.concatenate([parts[0][:1], *(part[1:] for part in parts)])


def enclosed(planar: PlanarMap, region: int, shape: tuple[int, int]) -> np.ndarray:
    """How often the loops of a region run clockwise around each pixel: ``[H, W]``."""
    turns = np.zeros((shape[0], shape[1] + 1), int)
    for loop in np.flatnonzero(planar.regions == region):
        points = loop_points(planar, loop)
        for (x0, y0), (x1, y1) in zip(points[:-1], points[1:], strict=True):
            assert abs(x1 - x0) + abs(y1 - y0) == 1
            if x0 == x1:  # upwards is the left end of the region's pixels to the right
                turns[min(y0, y1), x0] += y0 - y1
    return turns.cumsum(1)[:, :-1]


def check(labels: np.ndarray) -> PlanarMap:
    planar = trace(labels)
    for region in np.unique(labels):
        np.testing.assert_array_equal(enclosed(planar, region, labels.shape), labels == region)
    framed = np.pad(labels, 1, constant_values=OUTSIDE)
    borders = (np.diff(framed, axis=0) != 0).sum() + (np.diff(framed, axis=1) != 0).sum()
    assert len(planar.points) - len(planar.right) == borders, 'every border edge lies in one arc'
    assert (planar.right > planar.left).all()
    return planar


@given(noisy)
def test_loops_enclose_their_regions_and_arcs_hold_each_border_once(labels: np.ndarray):
    check(labels)


@pytest.mark.parametrize('labels', [
    np.zeros((1, 1), int), np.arange(6)[None], np.arange(6)[:, None], np.indices((7, 8)).sum(0) % 2, rings(5),
    np.arange(30).reshape(5, 6), noise(40, 60, 2), noise(3, 200, 3)])
def test_shapes_at_the_edge(labels: np.ndarray):
    check(labels)


def test_arcs_run_from_node_to_node():
    labels = np.array([[0, 0, 1], [0, 2, 2]])
    planar = check(labels)
    nodes = {(0, 0), (3, 0), (0, 2), (3, 2), (2, 0), (2, 1), (3, 1), (1, 2)}
    arcs = [arc_points(planar, arc) for arc in range(len(planar.right))]
    assert {tuple(points[end]) for points in arcs for end in (0, -1)} == nodes and not planar.closed.any()
    assert sorted(zip(planar.left, planar.right, map(len, arcs), strict=True)) == [
        (-1, 0, 2), (-1, 0, 3), (-1, 0, 3), (-1, 1, 2), (-1, 1, 2), (-1, 2, 2), (-1, 2, 3), (0, 1, 2), (0, 2, 3), (1, 2, 2)]


def test_islands_are_closed_arcs_from_their_first_corner():
    planar = check(rings(3))
    islands = np.flatnonzero(planar.closed)
    assert [tuple(arc_points(planar, arc)[0]) for arc in islands] == [(1, 1), (2, 2)]
    assert [len(arc_points(planar, arc)) for arc in islands] == [13, 5]
    assert planar.regions.tolist() == [0, 0, 1, 1, 2], 'an outer loop and a hole, but for the innermost square'


def test_what_a_touching_corner_encloses_is_a_hole():
    labels = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1]])  # the 1s enclose a 0 across the corner that touches the other 0
    planar = check(labels)
    assert (planar.regions == 1).sum() == 2
