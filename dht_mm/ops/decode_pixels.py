"""Logits of pixels as weighted sums of rows of one table."""

import torch
from torch import Tensor

from .backend import contiguous_ints, use_ext
from .checks import check_labels
from .lines import ALL, check_lines, line_numbers
from .op import define
from .reference import decode_pixels as reference
from .reference.decode_pixels import PixelScene

MOST_FEATURES = 20  # that the compiled kernels read


def decode_pixels(table: Tensor, kernel: Tensor | None, scene: PixelScene, colours: Tensor, rows: slice | Tensor = ALL,
                  columns: slice | Tensor = ALL) -> Tensor:
    """Sum up what each pixel reads of a table.

    A pixel reads four squares of its own region's box, bilinearly, and of the box of each region that it is mixed with the nearest one,
    weighted by a softmax over ``kernel[2] * (own region) - kernel[0] * (squared distance to the centroid, over size) - kernel[1] *
    (squared distance to the mean colour)``; and its own region's rows of features, weighted by ``colours`` less the mean colour.

    Nothing of the size of the pixels is made but the result, forward and backward. Gradients are the same in every run: added up in
    fixed point on a GPU, and image by image on a CPU.

    Args:
        table: ``[R side^2 + R F, K]`` float, logits of each square of each region, y-major, then of each feature of each region, or
            without the latter. Differentiable.
        kernel: ``[3]`` float; None where a pixel reads its own region alone. Differentiable.
        scene: What the weights are reckoned from.
        colours: ``[B, F, h, w]`` float, what each of the pixels is described by: first its colours.
        rows: Which rows of pixels, a slice or ``[h]`` integers.
        columns: Which columns.

    Returns:
        ``[B, K, h, w]``, classes last in memory.

    Raises:
        TypeError: Labels or offsets are not integers.
        ValueError: The shapes of the scene or of the table do not fit together, or on the CPU a row or column is out of range.
    """
    check_labels(scene.labels, scene.offsets, table=table, means=scene.means, size=scene.size, boxes=scene.boxes, steps=scene.steps,
                 colours=colours)
    (batch, height, width), regions = scene.labels.shape, len(scene.size)
    lines = line_numbers(rows, height, table.device), line_numbers(columns, width, table.device)
    if colours.dim() != 4 or colours.shape != (batch, colours.shape[1], *map(len, lines)):
        raise ValueError(f'colours must be [B, F, h, w] of {batch} images, {len(lines[0])} rows and {len(lines[1])} columns, got shape '
                         f'{tuple(colours.shape)}')
    planes = colours.shape[1]
    sizes = [regions * scene.side**2, regions * (scene.side**2 + planes)]
    if table.dim() != 2 or len(table) not in sizes:
        raise ValueError(f'table must have {sizes[0]} or {sizes[1]} rows for {regions} regions of {scene.side} x {scene.side} squares and '
                         f'{planes} features, got shape {tuple(table.shape)}')
    return _decode_pixels(table, kernel, *scene, colours, *lines).movedim(-1, 1)


ARGUMENTS = ('Tensor table, Tensor? kernel, Tensor labels, Tensor offsets, Tensor means, Tensor size, Tensor boxes, Tensor steps, '
             'int centred, int side, Tensor colours, Tensor rows, Tensor columns')


def _compiled(table: Tensor, kernel: Tensor | None, labels: Tensor, offsets: Tensor, means: Tensor, size: Tensor, boxes: Tensor,
              steps: Tensor, centred: int, side: int, colours: Tensor, rows: Tensor, columns: Tensor) -> tuple | None:
    """Check rows and columns; the arguments of the compiled kernels, or None where these do not serve."""
    check_lines(rows, columns, labels.shape[1:])
    features = colours.shape[1] if len(table) > len(size) * side**2 else 0
    if not use_ext(table) or features > MOST_FEATURES:
        return None
    labels, offsets, size, steps = contiguous_ints(labels, offsets, size, steps)
    table, means, boxes, colours = (part.float().contiguous() for part in (table, means, boxes, colours))
    kernel = None if kernel is None else kernel.float().contiguous()
    return (table, kernel, labels, offsets, means, size, boxes, steps, colours, rows.contiguous(), columns.contiguous(), side, features,
            centred)


@define('decode_pixels', f'({ARGUMENTS}) -> Tensor')
def _decode_pixels(table, kernel, *scene_and_pixels):
    if (arguments := _compiled(table, kernel, *scene_and_pixels)) is not None:
        return torch.ops.dht_mm_ext.decode_pixels(*arguments)
    *scene, colours, rows, columns = scene_and_pixels
    return reference.decode_pixels(table, kernel, PixelScene(*scene), colours, rows, columns)


@_decode_pixels.register_fake
def _(table, kernel, labels, *others):
    rows, columns = others[-2:]
    return table.new_empty(len(labels), len(rows), len(columns), table.shape[1])


@define('decode_pixels_backward', f'(Tensor grad, {ARGUMENTS}) -> (Tensor, Tensor)')
def _decode_pixels_backward(grad, table, kernel, *scene_and_pixels):
    if (arguments := _compiled(table, kernel, *scene_and_pixels)) is not None:
        to_table, to_kernel = torch.ops.dht_mm_ext.decode_pixels_backward(grad.contiguous(), *arguments)
        return to_table, to_kernel.view(3).to(table.dtype)
    *scene, colours, rows, columns = scene_and_pixels
    return reference.decode_pixels_backward(grad, table, kernel, PixelScene(*scene), colours, rows, columns)


@_decode_pixels_backward.register_fake
def _(grad, table, kernel, *others):
    return torch.empty_like(table), table.new_empty(3)


def _setup_context(ctx, inputs, output):
    ctx.numbers = inputs[8:10]
    ctx.save_for_backward(*inputs[:8], *inputs[10:])


def _backward(ctx, grad):
    tensors = ctx.saved_tensors
    to_table, to_kernel = _decode_pixels_backward(grad, *tensors[:8], *ctx.numbers, *tensors[8:])
    return to_table, to_kernel if ctx.needs_input_grad[1] else None, *[None] * 11


_decode_pixels.register_autograd(_backward, setup_context=_setup_context)
