"""Borders of a label map as a planar map: every border between two regions is one arc that both share.

Borders run along pixel edges, on the lattice of pixel corners: corner ``(x, y)`` is the upper left one of pixel ``[y, x]``. Where three or
more border edges meet, and at the four corners of the image, is a *node*. An *arc* is a chain of edges from node to node, or a closed one
around an island that meets no node. A *side* of an arc is the arc as one of its two regions walks along it.
"""

from typing import NamedTuple

import numpy as np
from numpy import ndarray

OUTSIDE = -1  # the label beyond the frame of the image
# Four directions, each a right turn from the one before: up, right, down, left. A pixel's edges are walked with the pixel on the right
# hand; ORIGIN is where, from the pixel's upper left corner, each walk starts.
STEP = np.array([(0, -1), (1, 0), (0, 1), (-1, 0)])
ORIGIN = np.array([(0, 1), (0, 0), (1, 0), (1, 1)])


class PlanarMap(NamedTuple):
    """Arcs between regions, and how each region's outline is put together from them.

    Attributes:
        points: ``[P, 2]`` int, corners ``(x, y)`` along all arcs, both ends included, one pixel apart.
        starts: ``[A + 1]`` int, first point of each arc, then P.
        right: ``[A]`` int, label on the right hand of each arc as its points run.
        left: ``[A]`` int, label on the left hand, less than ``right``; ``OUTSIDE`` along the frame.
        closed: ``[A]`` bool, whether the arc is an island's border without a node; its first point is then the last one too.
        sides: ``[S]`` int, outlines: ``2 a`` is arc ``a`` as its points run, ``2 a + 1`` the same backwards.
        loops: ``[L + 1]`` int, first side of each closed outline, then S. Loops are ordered by region; each has its region on the
            right hand, so that outer ones run clockwise on the screen and holes counter-clockwise.
        regions: ``[L]`` int, label of each loop.
    """

    points: ndarray
    starts: ndarray
    right: ndarray
    left: ndarray
    closed: ndarray
    sides: ndarray
    loops: ndarray
    regions: ndarray


def trace(labels: ndarray) -> PlanarMap:
    """Trace all borders of a label map, each once.

    At a corner where a region touches itself diagonally its outline crosses over, so that what it encloses is a hole.

    Args:
        labels: ``[H, W]`` int, at least 0; H and W at least 1. A label's pixels may lie apart.
    """
    grid = _Grid(labels)
    edges = grid.borders()
    head, place = _rank(grid, edges)
    is_head = head == np.arange(len(head))
    heads, arc = np.flatnonzero(is_head), (np.cumsum(is_head) - 1)[head]
    starts = np.concatenate([[0], np.cumsum(np.bincount(arc) + 1)])
    along = np.empty(starts[-1], np.int64)  # edge that starts at each point; the last point of an arc has none
    along[starts[arc] + place] = edges
    first, last = edges[heads], along[starts[1:] - 2]
    along[starts[1:] - 1] = last
    points = grid.origin(along)
    points[starts[1:] - 1] += STEP[last // grid.size]
    right, left = grid.labels[first % grid.size], grid.labels[grid.across(first)]
    closed = ~grid.nodes[grid.corner(first)]
    return PlanarMap(points, starts, right, left, closed, *_loops(grid, first, last, right, left))


class _Grid:
    """A label map framed by ``OUTSIDE``, flattened, and walks along the edges of its pixels.

    An edge is the integer ``direction * size + pixel`` of the pixel on its right hand.
    """

    def __init__(self, labels: ndarray):
        framed = np.pad(labels, 1, constant_values=OUTSIDE)
        self.width = framed.shape[1]
        self.size = framed.size
        self.labels = framed.ravel()
        self.ahead = np.array([-self.width, 1, self.width, -1])
        self.nodes = self._nodes(framed).ravel()

    @staticmethod
    def _nodes(framed: ndarray) -> ndarray:
        """``[H + 1, W + 1]`` bool, whether each corner of the image's pixels is a node."""
        beside = framed[:, 1:] != framed[:, :-1]
        below = framed[1:] != framed[:-1]
        degree = beside[1:].astype(np.int8) + beside[:-1] + below[:, 1:] + below[:, :-1]
        nodes = degree > 2
        nodes[[0, 0, -1, -1], [0, -1, 0, -1]] = True
        return nodes

    def borders(self) -> ndarray:
        """Every edge between two labels once, as that of the larger label: ``[E]`` int, ascending."""
        pixels = np.flatnonzero(self.labels != OUTSIDE)
        own = self.labels[pixels]
        return np.concatenate([pixels[own > self.labels[pixels + self.ahead[direction - 1]]] + direction * self.size
                               for direction in range(4)])

    def across(self, edges: ndarray) -> ndarray:
        """The pixel on the left hand of each edge."""
        direction, pixel = np.divmod(edges, self.size)
        return pixel + self.ahead[direction - 1]

    def twin(self, edges: ndarray) -> ndarray:
        """The same edges walked the other way, with the other pixel on the right hand."""
        return (edges // self.size + 2) % 4 * self.size + self.across(edges)

    def origin(self, edges: ndarray) -> ndarray:
        """Corner ``(x, y)`` where each edge starts: ``[n, 2]`` int."""
        direction, pixel = np.divmod(edges, self.size)
        y, x = np.divmod(pixel, self.width)
        return np.stack([x - 1, y - 1], 1) + ORIGIN[direction]

    def corner(self, edges: ndarray) -> ndarray:
        """Where each edge starts, as an index into ``nodes``, in raster order."""
        x, y = self.origin(edges).T
        return y * (self.width - 1) + x

    def follow(self, edges: ndarray) -> ndarray:
        """The next edge of the same region's outline: a left turn where there is one, else straight on, else right."""
        direction, pixel = np.divmod(edges, self.size)
        own = self.labels[pixel]
        ahead = pixel + self.ahead[direction]
        ahead_left = ahead + self.ahead[direction - 1]
        left = self.labels[ahead_left] == own
        straight = self.labels[ahead] == own
        turn = np.where(left, -1, np.where(straight, 0, 1))
        return (direction + turn) % 4 * self.size + np.where(left, ahead_left, np.where(straight, ahead, pixel))


def _rank(grid: _Grid, edges: ndarray) -> tuple[ndarray, ndarray]:
    """For each border edge: the index of its arc's first edge, and its place in the arc, both ``[E]`` int.

    A chain without a node is cut at its first corner in raster order.
    """
    corner = grid.corner(edges)
    is_head = grid.nodes[corner]
    index = np.empty(4 * grid.size, np.int32)
    index[edges] = np.arange(len(edges), dtype=np.int32)
    after = grid.follow(edges)
    before = np.arange(len(edges))
    inner = np.flatnonzero(~grid.nodes[grid.corner(after)])
    before[index[after[inner]]] = inner
    head, place, low = before.copy(), (~is_head).astype(np.int64), corner.copy()
    cyclic = _double(head, place, low, is_head)
    if len(cyclic):
        cut = cyclic[corner[cyclic] == low[cyclic]]
        is_head[cut] = True
        before[cut] = cut
        head[cyclic], place[cyclic] = before[cyclic], ~is_head[cyclic]
        _double(head, place, low, is_head)
    return head, place


def _double(back: ndarray, place: ndarray, low: ndarray, is_head: ndarray) -> ndarray:
    """Pointer doubling along chains, in place: ``back`` becomes the head, ``place`` the distance to it.

    Returns the members of chains without a head; there ``low`` becomes the least of the chain.
    """
    active = np.flatnonzero(~is_head[back])
    while len(active):
        step = back[active]
        least = np.minimum(low[active], low[step])
        unchanged = np.array_equal(least, low[active])
        low[active] = least
        place[active] += place[step]
        back[active] = back[step]
        remaining = active[~is_head[back[active]]]
        # Every round, some member of each chain that has a head reaches it.
        if unchanged and len(remaining) == len(active):
            break
        active = remaining
    return active


def _loops(grid: _Grid, first: ndarray, last: ndarray, right: ndarray, left: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Closed outlines from the first and last edge of each arc: the fields ``sides``, ``loops`` and ``regions``."""
    starts = np.stack([first, grid.twin(last)], 1).ravel()
    ends = np.stack([last, grid.twin(first)], 1).ravel()
    owner = np.stack([right, left], 1).ravel()
    inside = np.flatnonzero(owner != OUTSIDE)
    side = np.empty(4 * grid.size, np.int32)
    side[starts[inside]] = inside
    after = np.full(len(owner), -1)
    after[inside] = side[grid.follow(ends[inside])]
    order, loops = _cycles(after.tolist(), inside[np.argsort(owner[inside], kind='stable')].tolist())
    return np.array(order), np.array(loops), owner[[order[start] for start in loops[:-1]]]


def _cycles(after: list[int], members: list[int]) -> tuple[list[int], list[int]]:
    """Cycles of a permutation, one behind the other, in the order of ``members``, and where each starts, then their total length."""
    order: list[int] = []
    starts = []
    for member in members:
        if after[member] < 0:
            continue
        starts.append(len(order))
        while (following := after[member]) >= 0:
            order.append(member)
            after[member], member = -1, following
    return order, [*starts, len(order)]
