"""Pixels that a predicted and a true label map share, class by class: what every mean IoU is made from."""

from typing import NamedTuple

import torch
from torch import Tensor

from dht_mm.structures.label_map import pixel_classes


class ClassOverlap(NamedTuple):
    """Pixel counts of each class; those of several images are added field by field.

    Attributes:
        shared: ``[K]`` int64, pixels of the class in both maps.
        predicted: ``[K]`` int64, pixels of the class in the prediction.
        true: ``[K]`` int64, pixels of the class in the ground truth.
    """

    shared: Tensor
    predicted: Tensor
    true: Tensor

    def iou(self) -> Tensor:
        """``[K]`` float64, intersection over union; NaN for a class that is in neither map."""
        return self.shared.double() / (self.predicted + self.true - self.shared)

    def mean_iou(self) -> float:
        """Mean over the classes that occur in either map, in per cent; NaN if there is none."""
        return 100 * self.iou().nanmean().item()

    def accuracy(self) -> float:
        """Share of the true pixels that are right, in per cent; NaN if there is none."""
        return 100 * (self.shared.sum().double() / self.true.sum()).item()


def class_overlap(predicted: Tensor, true: Tensor, num_classes: int) -> ClassOverlap:
    """Count the pixels of each class.

    Args:
        predicted: Integer classes, of any shape; a negative value is in no class and counts nowhere.
        true: Integer classes, of the same shape, likewise.
        num_classes: Number of classes, K.

    Returns:
        The counts.
    """
    return ClassOverlap(*(torch.bincount(classes[classes >= 0], minlength=num_classes) for classes in (
        predicted.masked_fill(predicted != true, -1), predicted, true)))


def known_pixels(prediction: Tensor, labels: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Which pixels count, after checks.

    Args:
        prediction: ``[B, H, W]`` integer in ``[0, K)``.
        labels: ``[B, H, W]`` integer in ``[0, K)`` or ``ignore_index``.
        num_classes: Number of classes, K.
        ignore_index: Label of ignored pixels, which may be a class.

    Returns:
        ``[B, H, W]`` bool.

    Raises:
        TypeError: A map is not an integer tensor.
        ValueError: The maps are no ``[B, H, W]``, differ in size, or have a value out of range.
    """
    if prediction.shape != labels.shape:
        raise ValueError(f'prediction must be of the size of labels, {tuple(labels.shape)}, got {tuple(prediction.shape)}')
    pixel_classes(labels, num_classes, ignore_index)
    known = labels != ignore_index
    pixel_classes(prediction.masked_fill(~known, 0), num_classes, 0)  # what is predicted on ignored pixels may be anything
    return known
