"""Multiply-adds of the operators by the shapes of their tensors. torch's FLOP counter knows them once this package is imported.

Counts and minima are no multiply-adds: histograms, labels and the search for each region's best edge are left out.
"""

from collections.abc import Callable, Sequence
from math import ceil, prod

import torch
from torch.utils.flop_counter import register_flop_formula

from .hierarchy import Hierarchy

Shapes = Sequence[Sequence[int] | None]


def coarse_features(inputs: Shapes, outputs: Shapes) -> int:
    """Two convolutions: the first at four places of each cell, the second at one."""
    (batch, *_), (_, hidden, rows, columns), wide, taps = inputs[0], outputs[0], inputs[1][0], inputs[1][1]
    return batch * rows * columns * (4 * wide * taps + 4 * wide * hidden)


def pixel_features(inputs: Shapes, outputs: Shapes) -> int:
    """A convolution, and 4 taps of the upsampling for each value."""
    return prod(outputs[0]) * (inputs[0][1] + 4)


def project(inputs: Shapes, outputs: Shapes) -> int:
    """Both steps. The shapes of the layers follow from the channels; some counters do not see into lists of tensors."""
    (_, channels, *_), (batch, hidden, height, width) = inputs[0], outputs[0]
    cells = [batch, hidden, ceil(height / 4), ceil(width / 4)]
    return coarse_features([inputs[0], [4 * hidden, 4 * channels]], [cells]) + pixel_features(inputs, outputs)


def exact_linear(inputs: Shapes, outputs: Shapes) -> int:
    """A matrix product."""
    return prod(inputs[0]) * inputs[1][0]


def build_hierarchy(inputs: Shapes, outputs: Shapes) -> int:
    """A distance for each edge, two a pixel and about three a region, and means and variances of all that is merged."""
    batch, hidden, height, width = inputs[0]
    pixels, regions = batch * height * width, Hierarchy(*outputs).node_mean[0]
    return hidden * (2 * pixels + 3 * regions + 2 * (pixels + regions))


def region_mean(inputs: Shapes, outputs: Shapes) -> int:
    """An addition for each value of a pixel."""
    return prod(inputs[0])


def region_pixels(inputs: Shapes, outputs: Shapes) -> int:
    """Four taps for each sample and each point of the mask."""
    return 4 * (prod(outputs[0]) + prod(outputs[1]))


def pool_cells(inputs: Shapes, outputs: Shapes) -> int:
    """A token for each region of a cell; there are about as many such pairs as regions and cells together."""
    return prod(inputs[0]) + prod(outputs[0])


def decode_pixels(inputs: Shapes, outputs: Shapes) -> int:
    """A row of the table for each that a pixel reads: four squares of its own region, one of each other, and its features."""
    (rows, _), (regions,), (_, planes, *_), (_, mixed, _) = inputs[0], inputs[5], inputs[10], inputs[7]
    features = planes if rows > regions * planes else 0
    return prod(outputs[0]) * (3 + mixed + features)


MULTIPLY_ADDS: dict[str, Callable[[Shapes, Shapes], int]] = {
    formula.__name__: formula for formula in (
        project, coarse_features, pixel_features, exact_linear, build_hierarchy, region_mean, region_pixels, pool_cells, decode_pixels)}


def register_flops() -> None:
    """Tell torch's FLOP counter, which counts two for a multiply-add."""
    for name, formula in MULTIPLY_ADDS.items():
        register_flop_formula(getattr(torch.ops.dht_mm, name))(_doubled(formula))


def _doubled(formula: Callable[[Shapes, Shapes], int]) -> Callable[..., int]:
    def flops(*inputs: Sequence[int], out_shape: Sequence, **_) -> int:
        return 2 * formula(inputs, [out_shape] if isinstance(out_shape, torch.Size) else out_shape)

    return flops
