"""Polygon simplification after Visvalingam and Whyatt (1993), as the published code does it."""

import numpy as np
from numpy import ndarray


def drop_flat_corners(polygon: ndarray, threshold: float) -> ndarray:
    """Drop corners that make small triangles with their neighbours, all in one pass.

    The method's authors drop one corner after the other; here every corner is judged by the neighbours that it has at first.

    Args:
        polygon: ``[n, 2]`` corners of a closed polygon.
        threshold: A corner stays if twice the area of its triangle is above this, in square pixels.
    """
    before, after = polygon - np.roll(polygon, 1, 0), np.roll(polygon, -1, 0) - polygon
    return polygon[np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > threshold]
