"""What a partition allows at best: each region takes the class that most of its pixels have."""

import torch
from torch import Tensor

from dht_mm.structures.label_map import class_counts, pixel_classes


def region_majority(regions: Tensor, labels: Tensor, num_classes: int, ignore_index: int = 255) -> Tensor:
    """Paint each region with the most frequent class of its pixels; the smallest such class if there are several.

    Args:
        regions: ``[B, H, W]`` integer, the region of each pixel, any numbers from 0 on; those of different images are apart.
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
    image = torch.arange(len(regions), device=regions.device)[:, None, None].expand_as(regions)
    _, rows = torch.unique(torch.stack([image.flatten(), regions.long().flatten()]), dim=1, return_inverse=True)
    counts = class_counts(rows, classes.flatten(), int(rows.max()) + 1, num_classes)
    return counts[:, :num_classes].argmax(1)[rows].view(labels.shape)
