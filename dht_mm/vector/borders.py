"""From a planar map to the curves of its arcs, without losing a region."""

import numpy as np
from numpy import ndarray

from .area import region_areas
from .fit import Curves, fit
from .joints import smooth_joints
from .samples import Samples, sample
from .trace import PlanarMap

LEAST_AREA = 0.5  # share of a region's pixels that its curves must at least enclose


def fit_borders(planar: PlanarMap, size: ndarray, tolerance: float, steps: int) -> Curves:
    """Curves near all borders, on a grid of ``1 / steps`` pixels.

    Arcs keep their ends, and both regions at an arc share its curve. So whatever the curves do in between, the regions' winding
    numbers around any point of the image add up to 1, and every point is covered by a region.

    Where a region would lose half of its area or turn inside out, the pixels' own outline takes the place of its curves.

    Args:
        planar: The traced label map.
        size: ``[R]`` int, pixels of each region.
        tolerance: Largest distance in pixels of the middles of the pixels' edges from the curve, and as much again where joints are
            smoothed, apart from rounding; 0 keeps to the edges.
        steps: Coordinates are rounded to this fraction of a pixel.
    """
    if tolerance == 0:
        return pixel_outline(planar, np.arange(len(planar.right)))
    curves = smooth_joints(fit(sample(planar), np.full(len(planar.right), tolerance)), tolerance)
    curves = curves._replace(controls=np.rint(curves.controls * steps) / steps)
    exact = np.zeros(len(planar.right), dtype=bool)
    while True:
        lost = np.append(region_areas(planar, curves, len(size)) < LEAST_AREA * size, False)  # the last stands for the outside
        new = (lost[planar.right] | lost[planar.left]) & ~exact
        if not new.any():
            return curves
        exact |= new
        curves = _replace(curves, np.flatnonzero(new), pixel_outline(planar, np.flatnonzero(new)))


def pixel_outline(planar: PlanarMap, arcs: ndarray) -> Curves:
    """The given arcs as lines along the pixels' edges."""
    counts = np.diff(planar.starts)[arcs]
    starts = np.concatenate([[0], np.cumsum(counts)])
    index = np.arange(starts[-1]) + np.repeat(planar.starts[arcs] - starts[:-1], counts)
    return fit(Samples(planar.points[index].astype(float), starts), np.zeros(len(arcs)))


def _replace(curves: Curves, arcs: ndarray, others: Curves) -> Curves:
    """``curves`` with the pieces of some arcs exchanged for those of ``others``, which has these arcs only."""
    count = np.diff(curves.starts)
    arc = np.repeat(np.arange(len(count)), count)
    keep = ~np.isin(arc, arcs)
    count[arcs] = np.diff(others.starts)
    order = np.argsort(np.concatenate([arc[keep], np.repeat(arcs, np.diff(others.starts))]), kind='stable')
    controls = np.concatenate([curves.controls[keep], others.controls])[order]
    straight = np.concatenate([curves.straight[keep], others.straight])[order]
    return Curves(controls, straight, np.concatenate([[0], np.cumsum(count)]))
