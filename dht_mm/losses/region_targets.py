"""Soft class targets of regions: how well each region fits each ground-truth mask of its image."""

import torch
from torch import Tensor

from dht_mm.structures import Partition
from dht_mm.structures.label_map import class_counts, pixel_classes


@torch.no_grad()
def region_targets(partition: Partition, labels: Tensor, num_classes: int, ignore_index: int = 255) -> Tensor:
    """Intersection over union of each region with each class mask of its image, normalised to sum 1 over the classes.

    An ``ignore_index`` in ``[0, num_classes)`` is counted as a class. Otherwise ignored pixels are in no class: they count in
    the size of their region and in nothing else, and a region of ignored pixels only has the target 0.

    Args:
        partition: R regions of B images of ``H`` by ``W`` pixels.
        labels: ``[B, H, W]`` integer, the class of each pixel or ``ignore_index``.
        num_classes: Number of classes, K.
        ignore_index: Label of ignored pixels.

    Returns:
        ``[R, K]`` float32, rows in the order of the partition, each of sum 1 or 0.

    Raises:
        TypeError: ``labels`` is not an integer tensor.
        ValueError: ``labels`` is of another size than the partition, or has a value that is neither a class nor ``ignore_index``.
    """
    if not isinstance(partition, Partition):
        raise TypeError(f'partition must be a Partition, got {partition!r}')
    if isinstance(labels, Tensor) and labels.shape != partition.labels.shape:
        raise ValueError(f'labels must be of the size of the partition, {tuple(partition.labels.shape)}, '
                         f'got {tuple(labels.shape)}')
    classes = pixel_classes(labels, num_classes, ignore_index)
    region = class_counts(partition.packed_labels, classes, partition.total_regions, num_classes)
    image = region.new_zeros(len(partition), num_classes + 1).index_add_(0, partition.image_index, region)
    shared = region[:, :num_classes]
    union = region.sum(1, keepdim=True) + image[partition.image_index, :num_classes] - shared
    iou = shared.double() / union.clamp_min(1)  # a row of no region has neither
    return (iou / iou.sum(1, keepdim=True).clamp_min(torch.finfo(iou.dtype).tiny)).float()
