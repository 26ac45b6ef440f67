"""Areas that curves enclose, by which regions are noticed that simplification would lose."""

import numpy as np
from numpy import ndarray

from .fit import Curves
from .trace import PlanarMap


def region_areas(planar: PlanarMap, curves: Curves, count: int) -> ndarray:
    """Signed area in square pixels of each region as its curves draw it: ``[count]`` float, about the number of its pixels."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = curves.controls.transpose(1, 2, 0)
    # Green's theorem for a cubic Bézier piece: the integral of (x dy - y dx) / 2.
    pieces = (6 * (x0 * y1 - x1 * y0) + 3 * (x0 * y2 - x2 * y0) + (x0 * y3 - x3 * y0) + 3 * (x1 * y2 - x2 * y1)
              + 3 * (x1 * y3 - x3 * y1) + 6 * (x2 * y3 - x3 * y2)) / 20
    arcs = np.add.reduceat(pieces, curves.starts[:-1])
    region = np.repeat(planar.regions, np.diff(planar.loops))
    signs = 1 - 2 * (planar.sides % 2)
    return np.bincount(region, weights=signs * arcs[planar.sides // 2], minlength=count)
