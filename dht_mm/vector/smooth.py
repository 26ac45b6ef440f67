"""Smoothing of polygons by cutting their corners (Chaikin, 1974)."""

import numpy as np
from numpy import ndarray


def cut_corners(polygon: ndarray) -> ndarray:
    """One round of corner cutting: each edge of a closed polygon ``[n, 2]`` leaves its points at 1/4 and 3/4, ``[2 n, 2]``."""
    following = np.roll(polygon, -1, 0)
    return np.stack([0.75 * polygon + 0.25 * following, 0.25 * polygon + 0.75 * following], 1).reshape(-1, 2)
