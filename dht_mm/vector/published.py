"""The steps that were published with the paper, for comparison with its results. They lose small and thin regions, and holes."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy import ndarray

from .anchors import curves_through
from .checks import Regions, check_image, label_map
from .document import background_squares, document
from .fill import mean_colors, rounded
from .simplify import drop_flat_corners
from .smooth import cut_corners
from .trace import PlanarMap, trace
from .vectorize import number

THRESHOLDS = (0.0, 0.1, 0.1)


def vectorize_published(image: ndarray, regions: Regions, *, thresholds: Sequence[float] = THRESHOLDS, stroke: float = 1.0,
                        background: bool = True, title: str = 'Regions of an image') -> str:
    """A partition as SVG by the published steps; :func:`dht_mm.vector.vectorize` is better in every respect.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        regions: A partition of one image or a label map ``[H, W]``.
        thresholds: Of the simplification before, between and after two rounds of corner cutting, in square pixels.
        stroke: Width in pixels of the line around each region, in its colour.
        background: Whether there are squares of 32 pixels below, in the colour of their first one.
        title: The document's title.

    Raises:
        TypeError: ``image`` or ``regions`` is of another type.
        ValueError: An argument is out of its range, or ``regions`` has another size than ``image``.
    """
    labels, _ = number(label_map(regions, check_image(image).shape[:2]))
    if len(thresholds) != 3 or not np.isfinite(thresholds).all():
        raise ValueError(f'thresholds must be three finite numbers, got {thresholds}')
    if not 0 <= stroke < np.inf:
        raise ValueError(f'stroke must be a finite number of pixels, at least 0, got {stroke}')
    colors = rounded(mean_colors(image, labels)).tolist()
    paths = [_path(curves, 'rgb({},{},{})'.format(*colors[region]), stroke) for region, curves in published_curves(labels, thresholds)]
    return document(labels.shape, title, [*(background_squares(image) if background else []), *paths])


def published_curves(labels: ndarray, thresholds: Sequence[float] = THRESHOLDS) -> Iterator[tuple[int, ndarray]]:
    """Label and closed curve ``[n, 4, 2]`` (see :func:`curves_through`) of each region that the simplification leaves something of."""
    for region, polygon in enumerate(outer_polygons(trace(labels))):
        polygon = drop_flat_corners(polygon.astype(float), thresholds[0])
        for threshold in thresholds[1:]:
            polygon = drop_flat_corners(cut_corners(polygon), threshold)
        if len(polygon):
            yield region, curves_through(polygon)


def outer_polygons(planar: PlanarMap) -> list[ndarray]:
    """The outer outline ``[n, 2]`` of each region, clockwise on the screen, one point for each pixel edge.

    It starts at the lower left corner of the leftmost pixel of the lowest row. Of a region that lies apart it is the part with that
    pixel.
    """
    outer: dict[int, tuple[tuple[int, int], ndarray]] = {}
    for loop, region in enumerate(planar.regions.tolist()):
        polygon = _polygon(planar, planar.sides[planar.loops[loop]:planar.loops[loop + 1]])
        first = np.lexsort((polygon[:, 0], -polygon[:, 1]))[0]
        key = (-polygon[first, 1], polygon[first, 0])
        if region not in outer or key < outer[region][0]:
            outer[region] = key, np.roll(polygon, -first, 0)
    return [polygon for _, (_, polygon) in sorted(outer.items())]


def _polygon(planar: PlanarMap, sides: ndarray) -> ndarray:
    arcs = [planar.points[planar.starts[side // 2]:planar.starts[side // 2 + 1]][::-1 if side % 2 else 1] for side in sides.tolist()]
    return np.concatenate([points[:-1] for points in arcs])


def _path(curves: ndarray, color: str, stroke: float) -> str:
    pieces = ' '.join('C ' + ' '.join(f'{x:.3f},{y:.3f}' for x, y in piece[1:]) for piece in curves.tolist())
    x, y = curves[0, 0]
    return f'<path d="M {x:.3f},{y:.3f} {pieces} Z" stroke="{color}" stroke-width="{stroke:.1f}" fill="{color}"/>'
