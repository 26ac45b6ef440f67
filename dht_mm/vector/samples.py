"""Points that a smooth border should pass near: the middles of the pixels' edges, which a staircase of pixels swings around."""

from typing import NamedTuple

import numpy as np
from numpy import ndarray

from .trace import PlanarMap

# Joining the middles of its edges cuts the corners of a closed lattice polygon: its four net right turns cost 1/8 of a pixel each.
CLOSED_LOSS = 0.5


class Samples(NamedTuple):
    """Points along arcs.

    Attributes:
        points: ``[P, 2]`` float, ``(x, y)`` in pixels, arc after arc.
        starts: ``[A + 1]`` int, first point of each arc, then P.
    """

    points: ndarray
    starts: ndarray


def sample(planar: PlanarMap) -> Samples:
    """The middles of all pixel edges along each arc, between its two nodes.

    An arc without nodes starts and ends in the middle of its first edge, and is enlarged around its centre of gravity until it
    encloses the area of the pixels again.
    """
    lattice = planar.points.astype(float)
    arc = np.repeat(np.arange(len(planar.closed)), np.diff(planar.starts))
    middles = np.delete((lattice[1:] + lattice[:-1]) / 2, planar.starts[1:-1] - 1, axis=0)
    middle_arc = np.delete(arc[1:], planar.starts[1:-1] - 1)
    counts = np.diff(planar.starts) - 1  # middles of each arc
    starts = np.concatenate([[0], np.cumsum(counts + np.where(planar.closed, 1, 2))])
    opened = ~planar.closed
    points = np.empty((starts[-1], 2))
    first = np.concatenate([[0], np.cumsum(counts)])
    points[starts[middle_arc] + opened[middle_arc] + np.arange(len(middles)) - first[middle_arc]] = middles
    points[starts[:-1][opened]] = lattice[planar.starts[:-1][opened]]
    points[starts[1:][opened] - 1] = lattice[planar.starts[1:][opened] - 1]
    points[starts[1:][~opened] - 1] = points[starts[:-1][~opened]]
    return Samples(_restore_area(points, starts, planar.closed), starts)


def _restore_area(points: ndarray, starts: ndarray, closed: ndarray) -> ndarray:
    """Closed arcs enlarged by what joining the middles has cost them."""
    chosen = np.flatnonzero(closed)
    if not len(chosen):
        return points
    arc = np.repeat(np.arange(len(closed)), np.diff(starts))
    x, y = points.T
    cross = np.append(x[:-1] * y[1:] - x[1:] * y[:-1], 0)
    cross[starts[1:] - 1] = 0  # from arc to arc
    area = np.add.reduceat(cross, starts[:-1])[chosen] / 2
    # The mean of the middles is the centre closely enough.
    centre = np.zeros((len(closed), 2))
    count = np.diff(starts)[chosen, None] - 1
    centre[chosen] = (np.add.reduceat(points, starts[:-1])[chosen] - points[starts[1:][chosen] - 1]) / count
    scale = np.ones(len(closed))
    scale[chosen] = np.sqrt(1 + CLOSED_LOSS / np.abs(area))
    return centre[arc] + (points - centre[arc]) * scale[arc, None]
