"""What a partition allows at best: each region takes the class that most of its pixels have."""

import torch
from torch import Tensor

from dht_mm.structures.label_map import class_counts, pixel_classes


def region_majority(regions: Tensor, labels: Tensor, num_classes: int, ignore_index: int = 255) -> Tensor:
    """Paint each region with the most frequent class of its pixels; the smallest such class if there are several.

    Args:
        regions: ``[B, H, W]`` integer, the region of each pixel, numbered from 0 per image; numbers may be missing.
        labels: ``[B, H, W]`` integer in ``[0, K)`` or ``ignore_index``.
        num_classes: Number of classes, K.
        ignore_index: Label of ignored pixels, which have no vote; it may be a class.

    Returns:
        ``[B, H, W]`` int64 in ``[0, K)``; 0 on a region of ignored pixels only.

    Raises:
        TypeError: A map is not an integer tensor.
        ValueError: The maps differ in size, or have a value out of range.
    """
    if regions.is_floating_point() or regions.dtype == torch.bool:
        raise TypeError(f'regions must be an integer tensor, got {regions.dtype}')
    if regions.shape != labels.shape:
        raise ValueError(f'regions must be of the size of labels, {tuple(labels.shape)}, got {tuple(regions.shape)}')
    classes = pixel_classes(labels, num_classes, ignore_index).masked_fill(labels == ignore_index, num_classes)
    low, high = torch.stack(regions.aminmax()).tolist()
    if low < 0:
        raise ValueError(f'regions must be numbered from 0, got {low}')
    rows = regions.long() + (high + 1) * torch.arange(len(regions), device=regions.device)[:, None, None]
    counts = class_counts(rows, classes, (high + 1) * len(regions), num_classes)
    return counts[:, :num_classes].argmax(1)[rows]
