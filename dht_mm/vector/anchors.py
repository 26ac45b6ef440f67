"""Closed curves through some of a fine polygon's points."""

import numpy as np
from numpy import ndarray

EVERY = 4  # points of the polygon to an anchor
HANDLE = 0.33  # length of a handle, as a share of the chord
TINY = 1e-12


def curves_through(polygon: ndarray) -> ndarray:
    """Cubic Bézier pieces through every fourth point of a closed polygon, tangent to it there.

    Args:
        polygon: ``[n, 2]`` float.

    Returns:
        ``[ceil(n / 4), 4, 2]`` float control points; the last piece ends where the first begins.
    """
    tangents = np.roll(polygon, -1, 0) - np.roll(polygon, 1, 0)
    tangents = tangents / np.maximum(np.linalg.norm(tangents, axis=1, keepdims=True), TINY)
    start, leave = polygon[::EVERY], tangents[::EVERY]
    end, arrive = np.roll(start, -1, 0), np.roll(leave, -1, 0)
    handle = HANDLE * np.linalg.norm(end - start, axis=1, keepdims=True)
    return np.stack([start, start + handle * leave, end - handle * arrive, end], 1)
