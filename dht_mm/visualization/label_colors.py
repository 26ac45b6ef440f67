"""Colours for labels: a palette of any size, and regions painted so that neighbours differ."""

import numpy as np
from torch import Tensor

from dht_mm.vector.checks import Regions, label_map

# Steps of hue, saturation and value from one colour to the next. The hue's golden ratio never repeats; the other two were
# searched at random for first 12 and first 24 colours that lie far apart in RGB.
STEP = np.array([0.6180339887498949, 0.55, 0.95])
START = np.array([0.0, 0.49, 1.0])
LOW = np.array([0.0, 0.35, 0.4])
# Regions share this many colours unless their neighbours take them all.
SHARED_COLORS = 12


def label_palette(count: int) -> np.ndarray:
    """Bright colours that are all different, whatever their number; the first ones are furthest apart.

    A longer palette starts with the shorter one, so a class keeps its colour when classes are added.

    Args:
        count: Number of colours, at least 0.

    Returns:
        ``[count, 3]`` uint8 RGB. The first 12 are at least 80 apart in RGB, the first 24 at least 50, and of the first 1000
        consecutive ones at least 100.

    Raises:
        ValueError: ``count`` is negative.
    """
    if count < 0:
        raise ValueError(f'count must be at least 0, got {count}')
    hue, saturation, value = (LOW + (1 - LOW) * ((START + np.arange(count)[:, None] * STEP) % 1)).T
    # Each RGB channel is the same trapezoid of the hue, shifted by a third of the circle.
    position = (np.array([5, 3, 1]) + 6 * hue[:, None]) % 6
    chroma = np.clip(np.minimum(position, 4 - position), 0, 1)
    return np.rint(255 * value[:, None] * (1 - saturation[:, None] * chroma)).astype(np.uint8)


def paint_labels(labels: Tensor | np.ndarray, palette: np.ndarray, ignore_index: int | None = None) -> np.ndarray:
    """A class map as a picture: every pixel takes its label's colour.

    Args:
        labels: ``[H, W]`` integer.
        palette: ``[K, 3]`` uint8 RGB, the colour of each label.
        ignore_index: A label outside the palette that is painted black.

    Returns:
        ``[H, W, 3]`` uint8.

    Raises:
        TypeError: ``labels`` are not integer.
        ValueError: ``palette`` is not ``[K, 3]`` uint8, or a label has no colour in it.
    """
    labels = label_map(labels)
    palette = np.asarray(palette)
    if palette.ndim != 2 or palette.shape[1] != 3 or palette.dtype != np.uint8:
        raise ValueError(f'palette must be uint8 [K, 3], got {palette.dtype} of shape {palette.shape}')
    ignored = labels == ignore_index
    outside = labels[~ignored & ((labels < 0) | (labels >= len(palette)))]
    if outside.size:
        raise ValueError(f'labels must have a colour in the palette of {len(palette)}, got label {outside[0]}')
    painted = np.zeros((*labels.shape, 3), dtype=np.uint8)
    painted[~ignored] = palette[labels[~ignored]]
    return painted


def paint_regions(regions: Regions) -> np.ndarray:
    """A partition as a picture: few colours, never the same in two regions that share a border.

    Args:
        regions: A partition of one image or a label map ``[H, W]``.

    Returns:
        ``[H, W, 3]`` uint8. The same regions always get the same colours.
    """
    labels = label_map(regions)
    _, index = np.unique(labels, return_inverse=True)
    slots = _color_slots(index.reshape(labels.shape))
    return label_palette(slots.max() + 1)[slots[index.reshape(labels.shape)]]


def _color_slots(labels: np.ndarray) -> np.ndarray:
    """Greedy graph colouring (Welsh and Powell): ``[R]`` index of each region's colour. Most neighbours, first choice."""
    neighbours: list[list[int]] = [[] for _ in range(labels.max() + 1)]
    for first, second in _adjacent_pairs(labels).tolist():
        neighbours[first].append(second)
        neighbours[second].append(first)
    slots = np.full(len(neighbours), -1)
    for region in sorted(range(len(neighbours)), key=lambda region: -len(neighbours[region])):
        taken = {slots[other] for other in neighbours[region]}
        preferred = [(region + step) % SHARED_COLORS for step in range(SHARED_COLORS)]
        further = range(SHARED_COLORS, SHARED_COLORS + len(taken) + 1)
        slots[region] = next(slot for slot in (*preferred, *further) if slot not in taken)
    return slots


def _adjacent_pairs(labels: np.ndarray) -> np.ndarray:
    """``[E, 2]``: every pair of labels that share a border, once, the smaller first."""
    pairs = np.concatenate([
        np.stack([labels[:-1], labels[1:]], -1).reshape(-1, 2),
        np.stack([labels[:, :-1], labels[:, 1:]], -1).reshape(-1, 2),
    ])
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    return np.unique(pairs, axis=0)
