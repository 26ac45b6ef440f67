"""Logits of pixels as weighted sums of rows of one table."""

import torch
from torch import Tensor

from .backend import contiguous_ints, use_ext
from .checks import check_labels
from .op import define
from .reference import decode_pixels as reference
from .reference.decode_pixels import PixelScene

ALL = slice(None)
MOST_FEATURES = 20  # that the compiled kernels read


def decode_pixels(table: Tensor, kernel: Tensor | None, scene: PixelScene, rows: slice | Tensor = ALL,
                  columns: slice | Tensor = ALL) -> Tensor:
    """Sum up what each pixel reads of a table.

    A pixel reads four squares of its own region's box, bilinearly, and of the box of each region that it is mixed with the nearest one,
    weighted by a softmax over ``kernel[2] * (own region) - kernel[0] * (squared distance to the centroid, over size) - kernel[1] *
    (squared distance to the mean colour)``; and its own region's rows of features, weighted by ``scene.colours`` less the mean colour.

    Where a gradient is wanted, or not all columns, plain tensor operations do it; else one kernel, without anything of the size of the
    image but its result.

    Args:
        table: ``[R side^2 + R F, K]`` float, logits of each square of each region, y-major, then of each feature of each region, or
            without the latter.
        kernel: ``[3]`` float; None where a pixel reads its own region alone.
        scene: What the weights are reckoned from.
        rows: Which rows of pixels, a slice or ``[h]`` int64.
        columns: Which columns.

    Returns:
        ``[B, K, h, w]``, classes last in memory.

    Raises:
        TypeError: Labels or offsets are not integers.
        ValueError: The shapes of the scene or of the table do not fit together.
    """
    check_labels(scene.labels, scene.offsets, table=table, means=scene.means, size=scene.size, boxes=scene.boxes, colours=scene.colours,
                 steps=scene.steps)
    regions, planes = len(scene.size), scene.colours.shape[1]
    sizes = [regions * scene.side**2, regions * (scene.side**2 + planes)]
    if table.dim() != 2 or len(table) not in sizes:
        raise ValueError(f'table must have {sizes[0]} or {sizes[1]} rows for {regions} regions of {scene.side} x {scene.side} squares and '
                         f'{planes} features, got shape {tuple(table.shape)}')
    wanted = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (table, kernel))
    band = _band(rows, columns, scene.labels.shape[1])
    if wanted or band is None or table.dtype != torch.float32:
        return reference.decode_pixels(table, kernel, scene, rows, columns).movedim(-1, 1)
    return _decode_pixels(table, kernel, *scene, *band).movedim(-1, 1)


def _band(rows: slice | Tensor, columns: slice | Tensor, height: int) -> tuple[int, int] | None:
    """First row and number of rows, where these follow each other and are whole."""
    if isinstance(rows, Tensor) or isinstance(columns, Tensor) or columns != ALL or rows.step not in (None, 1):
        return None
    first, end, _ = rows.indices(height)
    return first, max(0, end - first)


@define('decode_pixels', '(Tensor table, Tensor? kernel, Tensor labels, Tensor offsets, Tensor means, Tensor size, Tensor boxes, '
        'Tensor colours, Tensor steps, int centred, int side, SymInt top, SymInt rows) -> Tensor')
def _decode_pixels(table, kernel, labels, offsets, means, size, boxes, colours, steps, centred, side, top, rows):
    features = colours.shape[1] if len(table) > len(size) * side**2 else 0
    if use_ext(table) and features <= MOST_FEATURES:
        labels, offsets, size, steps = contiguous_ints(labels, offsets, size, steps)
        table, means, boxes, colours = (part.float().contiguous() for part in (table, means, boxes, colours))
        kernel = None if kernel is None else kernel.float().contiguous()
        return torch.ops.dht_mm_ext.decode_pixels(
            table, kernel, labels, offsets, means, size, boxes, colours, steps, side, features, centred, top, rows)
    scene = PixelScene(labels, offsets, means, size, boxes, colours, steps, centred, side)
    return reference.decode_pixels(table, kernel, scene, slice(top, top + rows), ALL)


@_decode_pixels.register_fake
def _(table, kernel, labels, offsets, means, size, boxes, colours, steps, centred, side, top, rows):
    return table.new_empty(len(labels), rows, labels.shape[2], table.shape[1])
