"""Smooth joints: pieces of an arc that meet at a blunt angle get a common tangent there."""

import numpy as np
from numpy import ndarray

from .fit import Curves

CORNER = np.cos(np.radians(40))  # a sharper turn is a corner and stays one
TINY = 1e-9


def smooth_joints(curves: Curves, reach: float) -> Curves:
    """Turn the handles at both sides of a joint into the direction half way between them; they keep their lengths.

    Lines beside such a joint become curves.

    Args:
        curves: Arcs as chains of pieces.
        reach: Largest distance in pixels that a point of a curve may move by this; joints that would need more stay as they are.
    """
    joint = np.setdiff1d(np.arange(1, len(curves.controls)), curves.starts)
    point, before, after = curves.controls[joint, 0], curves.controls[joint - 1, 2], curves.controls[joint, 1]
    (arrive, from_length), (leave, to_length) = _unit(point - before), _unit(after - point)
    tangent, _ = _unit(arrive + leave)
    new_before, new_after = point - tangent * from_length, point + tangent * to_length
    moved = np.linalg.norm([new_before - before, new_after - after], axis=2).max(0)
    # Of the cubic's weights, those of the two handles add up to at most 3/4.
    turns = ((arrive * leave).sum(1) > CORNER) & (moved > TINY) & (0.75 * moved <= reach)
    joint = joint[turns]
    controls, straight = curves.controls.copy(), curves.straight.copy()
    controls[joint - 1, 2], controls[joint, 1] = new_before[turns], new_after[turns]
    straight[joint - 1] = straight[joint] = False
    return curves._replace(controls=controls, straight=straight)


def _unit(vectors: ndarray) -> tuple[ndarray, ndarray]:
    """Directions ``[n, 2]`` and lengths ``[n, 1]`` of vectors."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(length, TINY), length
