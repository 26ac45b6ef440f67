"""Number and shape of regions, without an annotation."""

import math

import torch
import torch.nn.functional as F

from .label_maps import LabelMap, label_map


def num_regions(labels: LabelMap) -> int:
    """K: the number of different labels of a ``[H, W]`` label map.

    Raises:
        TypeError: ``labels`` is not of integers.
        ValueError: ``labels`` is not ``[H, W]``, is empty or negative somewhere.
    """
    return len(label_map(labels).unique())


def compactness(labels: LabelMap) -> float:
    """Isoperimetric quotient ``4 pi |S| / P(S)^2`` of the regions, weighted by their pixels.

    After Schick, Fischer and Stiefelhagen (Measuring and evaluating the compactness of superpixels, 2012). The perimeter P is the
    number of pixel sides at which a region ends, at another region or at the image's border. A square, of whatever size, has pi / 4,
    which is the most: no region of pixels is rounder by that length.

    Args and errors are those of :func:`num_regions`.
    """
    labels = label_map(labels)
    around = F.pad(labels, (1, 1, 1, 1), value=-1)
    neighbours = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    sides = torch.stack([labels != neighbour for neighbour in neighbours]).sum(0)
    size = torch.bincount(labels.flatten())
    perimeter = torch.zeros_like(size).index_add(0, labels.flatten(), sides.flatten())
    quotient = 4 * math.pi * size.double() / perimeter.clamp(min=1).double().square()
    return ((size * quotient).sum() / labels.numel()).item()
