"""Error-bounded fitting of lines and cubic Bézier curves to arcs, all arcs at a time.

The scheme of P. J. Schneider, "An algorithm for automatically fitting digitized curves" (Graphics Gems, 1990), with both handles free:
fit a curve to an arc; where it strays too far, cut the arc at the worst point and fit the two parts.
"""

from typing import NamedTuple

import numpy as np
from numpy import ndarray

from .samples import Samples

RIDGE = 1e-3  # keeps handles near the chord where the points do not determine them
ROUNDS = 2  # least-squares fits of a curve; each but the first moves the points' parameters to their feet on the curve
TINY = 1e-9


class Curves(NamedTuple):
    """Arcs as chains of pieces.

    Attributes:
        controls: ``[K, 4, 2]`` float, Bézier control points ``(x, y)`` of each piece; the handles of a line are at its thirds.
        straight: ``[K]`` bool, whether a piece is a line.
        starts: ``[A + 1]`` int, first piece of each arc, then K.
    """

    controls: ndarray
    straight: ndarray
    starts: ndarray


class _Runs(NamedTuple):
    """The points strictly between the ends of several runs of points, one run after the other.

    Attributes:
        begin: ``[n]`` int, first of each run's points here.
        run: ``[m]`` int, run of each point.
        index: ``[m]`` int, the point among all.
    """

    begin: ndarray
    run: ndarray
    index: ndarray  # type: ignore[assignment]  # nobody asks a tuple of arrays for an item's index


def fit(samples: Samples, tolerance: ndarray) -> Curves:
    """Fit each arc with few pieces: a line where it is near enough, else a cubic, else two parts.

    Args:
        samples: Points along the arcs.
        tolerance: ``[A]`` float, at least 0: largest distance in pixels of an arc's points from its curve.
    """
    arcs = np.repeat(np.arange(len(samples.starts) - 1), np.diff(samples.starts))
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(samples.points, axis=0).T))])
    first, last = _first_runs(samples)
    done = []
    while len(first):
        limit = tolerance[arcs[first]] + TINY
        controls, straight, error, worst = _fit_runs(samples.points, length, first, last, limit)
        good = error <= limit
        done.append((first[good], controls[good], straight[good]))
        first, last, worst = first[~good], last[~good], worst[~good]
        first, last = np.concatenate([first, worst]), np.concatenate([worst, last])
    begin, controls, straight = (np.concatenate(parts) for parts in zip(*done, strict=True))
    order = np.argsort(begin)
    counts = np.bincount(arcs[begin], minlength=len(tolerance))
    return Curves(controls[order], straight[order], np.concatenate([[0], np.cumsum(counts)]))


def _first_runs(samples: Samples) -> tuple[ndarray, ndarray]:
    """First and last point of each arc; a closed arc, which has no chord, is cut into two."""
    first, last = samples.starts[:-1], samples.starts[1:] - 1
    closed = (samples.points[first] == samples.points[last]).all(1)
    middle = (first + last) // 2
    return np.concatenate([first, middle[closed]]), np.concatenate([np.where(closed, middle, last), last[closed]])


def _fit_runs(points: ndarray, length: ndarray, first: ndarray, last: ndarray, limit: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """A piece for each run of points: control points, whether it is a line, its largest error, and the point where that is."""
    start, end = points[first], points[last]
    controls = np.stack([start, (2 * start + end) / 3, (start + 2 * end) / 3, end], 1)
    error, worst = np.zeros(len(first)), first.copy()
    inner = np.flatnonzero(last - first > 1)
    error[inner], worst[inner] = _line_error(points, first[inner], last[inner])
    bent = np.flatnonzero(error > limit)
    controls[bent, 1:3], error[bent], worst[bent] = _fit_cubics(points, length, controls[bent], first[bent], last[bent])
    straight = np.ones(len(first), dtype=bool)
    straight[bent] = False
    return controls, straight, error, worst


def _runs(first: ndarray, last: ndarray) -> _Runs:
    counts = last - first - 1
    begin = np.cumsum(counts) - counts
    run = np.repeat(np.arange(len(first)), counts)
    return _Runs(begin, run, np.arange(len(run)) + (first + 1 - begin)[run])


def _largest(square: ndarray, runs: _Runs) -> tuple[ndarray, ndarray]:
    """Root of each run's largest value, and the first point that has it."""
    most = np.maximum.reduceat(square, runs.begin) if len(square) else square
    hits = np.flatnonzero(square == most[runs.run])[::-1]
    where = np.empty(len(most), np.int64)
    where[runs.run[hits]] = runs.index[hits]
    return np.sqrt(most), where


def _line_error(points: ndarray, first: ndarray, last: ndarray) -> tuple[ndarray, ndarray]:
    """Largest distance of each run's points from its chord, and where."""
    runs = _runs(first, last)
    chord_x, chord_y = (points[last] - points[first]).T
    scale = 1 / np.maximum(chord_x**2 + chord_y**2, TINY)
    x, y = np.take(points.T, runs.index, 1) - np.take(points[first].T, runs.run, 1)
    chord_x, chord_y = chord_x[runs.run], chord_y[runs.run]
    place = np.clip((x * chord_x + y * chord_y) * scale[runs.run], 0, 1)
    return _largest((x - place * chord_x) ** 2 + (y - place * chord_y) ** 2, runs)


def _fit_cubics(points: ndarray, length: ndarray, lines: ndarray, first: ndarray, last: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Least-squares handles ``[n, 2, 2]`` of each run, its largest error, and where.

    Written as the line ``lines`` (a cubic) plus two bumps, so that the unknowns are how far the handles leave the line's thirds.
    """
    runs = _runs(first, last)
    # Rows of x and of y, taken with np.take: numpy is some times slower with columns and with fancy indices.
    target = np.take(np.ascontiguousarray(points.T), runs.index, 1)
    chord = np.take((lines[:, 3] - lines[:, 0]).T, runs.run, 1)
    offset = target - np.take(lines[:, 0].T, runs.run, 1)
    u = (length[runs.index] - length[first][runs.run]) / (length[last] - length[first])[runs.run]
    for round_left in reversed(range(ROUNDS)):
        v = 1 - u
        bumps = 3 * u * v * np.stack([v, u])
        handles = _solve_handles(bumps, offset - u * chord, runs.begin)
        moved = np.take(handles, runs.run, 2)
        error = offset - u * chord - bumps[0] * moved[0] - bumps[1] * moved[1]
        if round_left:
            speed = chord + 3 * v * (v - 2 * u) * moved[0] + 3 * u * (2 * v - u) * moved[1]
            u = np.clip(u + (error * speed).sum(0) / np.maximum((speed**2).sum(0), TINY), 0, 1)
    most, worst = _largest((error**2).sum(0), runs)
    return lines[:, 1:3] + handles.transpose(2, 0, 1), most, worst


def _solve_handles(bumps: ndarray, target: ndarray, begin: ndarray) -> ndarray:
    """``[2, 2, n]``: the two coefficients of the bumps, each ``(x, y)``, that come nearest to the targets of each run."""
    products = [bumps[0] ** 2, bumps[0] * bumps[1], bumps[1] ** 2, *(bumps[0] * target), *(bumps[1] * target)]
    sums = np.add.reduceat(np.stack(products), begin, axis=1) if len(begin) else np.zeros((7, 0))
    a, b, c, right0, right1 = sums[0] + RIDGE, sums[1], sums[2] + RIDGE, sums[3:5], sums[5:7]
    return np.stack([c * right0 - b * right1, a * right1 - b * right0]) / (a * c - b * b)
