"""Label maps to trace."""

import numpy as np
from hypothesis import strategies as st


def noise(height: int, width: int, labels: int, seed: int = 0) -> np.ndarray:
    """``[height, width]`` labels drawn pixel by pixel: corners touch, regions lie apart, some labels may be missing."""
    return np.random.default_rng(seed).integers(0, labels, (height, width))


def rings(count: int) -> np.ndarray:
    """Squares within squares, each a pixel wider than the next inner one."""
    axis = np.minimum(np.arange(2 * count - 1), np.arange(2 * count - 1)[::-1])
    return np.minimum(axis[:, None], axis)


def disc(radius: float) -> np.ndarray:
    """1 within a circle in the middle, 0 around it."""
    axis = np.arange(2 * int(radius) + 5) - radius - 2
    return (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.int64)


noisy = st.builds(noise, st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 10**6))
