"""Curves as SVG path data: relative commands, integers, no letter or blank that can be left out; all paths at a time."""

import numpy as np
from numpy import ndarray

from .fit import Curves
from .trace import PlanarMap

MOVE, HORIZONTAL, VERTICAL, LINE, CUBIC, CLOSE = range(6)
LETTERS = np.frombuffer(b'Mhvlcz', np.uint8)
ARGUMENTS = np.array([2, 1, 1, 2, 6, 0])


def path_data(planar: PlanarMap, curves: Curves, steps: int, count: int) -> list[str]:
    """The outlines of each region as the ``d`` of a path, in units of ``1 / steps`` pixels.

    Args:
        planar: The arcs' order around the regions.
        curves: The arcs' curves; coordinates are rounded to whole units.
        steps: Units to a pixel.
        count: Number of regions, R.

    Returns:
        R strings.
    """
    kinds, numbers, loops = _commands(planar, np.rint(curves.controls * steps).astype(np.int64), curves)
    text, lengths = _format(kinds, numbers)
    ends = np.concatenate([[0], np.cumsum(lengths)])[loops]
    first = np.searchsorted(planar.regions, np.arange(count + 1))
    cuts = ends[first].tolist()
    return [text[start:end] for start, end in zip(cuts[:-1], cuts[1:], strict=True)]


def _commands(planar: PlanarMap, controls: ndarray, curves: Curves) -> tuple[ndarray, ndarray, ndarray]:
    """Kind ``[C]`` and numbers ``[C, 6]`` of all commands, and the first command of each loop, then C."""
    points, straight, loops = _walk(planar, controls, curves)
    moves = points[:, 1:] - points[:, :1]
    kinds, moves = _shortest(straight, moves)
    used = np.array(moves.any((1, 2)))
    # Closing a path draws a last line by itself.
    last = loops[1:] - 1
    used[last[straight[last]]] = False
    index = np.arange(len(points))
    loop = np.searchsorted(loops, index, side='right') - 1
    places = index + 2 * loop + 1
    kind = np.full(len(points) + 2 * len(loops) - 2, CLOSE)
    numbers = np.zeros((len(kind), 6), np.int64)
    begin = loops[:-1] + 2 * np.arange(len(loops) - 1)
    kind[begin], numbers[begin, :2] = MOVE, points[loops[:-1], 0]
    kind[places], numbers[places] = kinds, moves.reshape(-1, 6)
    keep = np.ones(len(kind), dtype=bool)
    keep[places] = used
    kept = np.concatenate([[0], np.cumsum(keep)])
    return kind[keep], numbers[keep], kept[np.append(begin, len(kind))]


def _walk(planar: PlanarMap, controls: ndarray, curves: Curves) -> tuple[ndarray, ndarray, ndarray]:
    """Pieces in the order of the loops: control points ``[Q, 4, 2]``, whether each is a line, and the first piece of each loop."""
    arcs, backward = planar.sides // 2, planar.sides % 2 == 1
    counts = np.diff(curves.starts)[arcs]
    ends = np.cumsum(counts)
    side = np.repeat(np.arange(len(arcs)), counts)
    place = np.arange(len(side)) - (ends - counts)[side]
    flip = backward[side]
    piece = curves.starts[arcs][side] + np.where(flip, counts[side] - 1 - place, place)
    points = controls[piece]
    points[flip] = points[flip, ::-1]
    return points, curves.straight[piece], np.concatenate([[0], ends])[planar.loops]


def _shortest(straight: ndarray, moves: ndarray) -> tuple[ndarray, ndarray]:
    """Kind of each piece, and its numbers moved to the front: ``[Q, 3, 2]``."""
    moves = np.where(straight[:, None, None], np.roll(moves, 1, 1) * np.array([1, 0, 0])[:, None], moves)
    x, y = moves[:, 0].T
    kinds = np.where(straight, np.where(y == 0, HORIZONTAL, np.where(x == 0, VERTICAL, LINE)), CUBIC)
    vertical = kinds == VERTICAL
    moves[vertical, 0] = moves[vertical, 0, ::-1]
    return kinds, moves


def _format(kinds: ndarray, numbers: ndarray) -> tuple[str, ndarray]:
    """Text of all commands in a row, and the length of each ``[C]``.

    A table of characters with a row for each command, in which zero bytes are what is left out.
    """
    digits = len(str(np.abs(numbers).max()))
    used = np.arange(6) < ARGUMENTS[kinds][:, None]
    table = np.zeros((len(kinds), 6, 1 + digits), np.uint8)
    rest = np.abs(numbers)
    for column in range(digits, 0, -1):
        rest, digit = np.divmod(rest, 10)
        table[..., column] = np.where(used & ((digit > 0) | (rest > 0) | (column == digits)), digit + ord('0'), 0)
    repeats = (np.diff(kinds, prepend=CLOSE) == 0) & (kinds != CLOSE)
    blank = used.copy()
    blank[~repeats, 0] = False
    table[..., 0] = np.where(used & (numbers < 0), ord('-'), np.where(blank, ord(' '), 0))
    letters = np.where(repeats, 0, LETTERS[kinds]).astype(np.uint8)
    table = np.concatenate([letters[:, None], table.reshape(len(kinds), -1)], 1)
    return table[table > 0].tobytes().decode(), np.count_nonzero(table, 1)
