"""How good a segmentation is near the borders of its classes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .class_overlap import ClassOverlap, class_overlap, known_pixels


def label_band(labels: Tensor, known: Tensor, width: int, frame: bool) -> Tensor:
    """Pixels with a known pixel of another label not farther than ``width`` rows and columns.

    Args:
        labels: ``[B, H, W]`` integer, at least 0 and below 2**24.
        known: ``[B, H, W]`` bool. Pixels that are not known make no border and are in no band.
        width: Pixels on either side of a border, at least 1. With 1 these are the two pixels that touch, diagonally too.
        frame: Whether what lies outside the image is of another label.

    Returns:
        ``[B, H, W]`` bool.

    Raises:
        ValueError: ``width`` is not a positive integer.
    """
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise ValueError(f'width must be a positive integer, got {width!r}')
    values = labels.float()
    # All known labels nearby are the pixel's own if and only if the largest and the smallest are.
    largest = _largest_nearby(values.masked_fill(~known, -torch.inf), width, frame)
    smallest = -_largest_nearby((-values).masked_fill(~known, -torch.inf), width, frame)
    return known & ((largest != values) | (smallest != values))


def _largest_nearby(values: Tensor, width: int, frame: bool) -> Tensor:
    """Maximum over the square of ``2 width + 1`` pixels around each pixel; the outside is infinite or does not count."""
    padded = F.pad(values, [width] * 4, value=torch.inf if frame else -torch.inf)
    return _window_maximum(_window_maximum(padded, 2 * width + 1, 2), 2 * width + 1, 1)


def _window_maximum(values: Tensor, length: int, dim: int) -> Tensor:
    """Maximum of each run of ``length`` values along ``dim``; runs are joined two by two, so that long ones take few steps."""
    covered = 1
    while covered < length:
        step = min(covered, length - covered)
        runs = values.shape[dim] - step
        values = torch.maximum(values.narrow(dim, 0, runs), values.narrow(dim, step, runs))
        covered += step
    return values


def boundary_overlap(prediction: Tensor, labels: Tensor, num_classes: int, width: int, ignore_index: int = 255) -> ClassOverlap:
    """Counts for boundary IoU (Cheng et al., 2021, Boundary IoU, equation 2), of all classes at once.

    A class's boundary pixels are those of its pixels that have a pixel of another class, or the outside of the image, not farther
    than ``width`` rows and columns: what eroding its mask ``width`` times by a square of 3 by 3 takes away. The intersection of the
    predicted and the true boundary pixels is set against their union. Ignored pixels are cut out of both maps: they
    are nobody's boundary pixels, and their rim is no boundary.

    Args:
        prediction: ``[B, H, W]`` integer in ``[0, K)``; anything where ``labels`` are ignored.
        labels: ``[B, H, W]`` integer in ``[0, K)`` or ``ignore_index``.
        num_classes: Number of classes, K.
        width: Width of the boundary in pixels; the paper takes 2 % of the image's diagonal.
        ignore_index: Label of ignored pixels.

    Returns:
        The counts of boundary pixels.

    Raises:
        TypeError: A map is not an integer tensor.
        ValueError: The maps differ in size or have a value out of range, or ``width`` is not a positive integer.
    """
    known = known_pixels(prediction, labels, num_classes, ignore_index)
    predicted, true = (classes.long().masked_fill(~label_band(classes, known, width, frame=True), -1) for classes in (prediction, labels))
    return class_overlap(predicted, true, num_classes)


def trimap_overlap(prediction: Tensor, labels: Tensor, num_classes: int, width: int, ignore_index: int = 255) -> ClassOverlap:
    """Counts for the mean IoU in a band around the true label borders (Kohli et al., 2009, the trimap of a segmentation).

    The band has the pixels with a pixel of another true class not farther than ``width`` rows and columns. Ignored pixels are not
    in it and make no border, and neither does the frame of the image.

    Args:
        prediction: ``[B, H, W]`` integer in ``[0, K)``; anything where ``labels`` are ignored.
        labels: ``[B, H, W]`` integer in ``[0, K)`` or ``ignore_index``.
        num_classes: Number of classes, K.
        width: Pixels on either side of a border.
        ignore_index: Label of ignored pixels.

    Returns:
        The counts of pixels in the band.

    Raises:
        TypeError: A map is not an integer tensor.
        ValueError: The maps differ in size or have a value out of range, or ``width`` is not a positive integer.
    """
    known = known_pixels(prediction, labels, num_classes, ignore_index)
    band = label_band(labels, known, width, frame=False)
    return class_overlap(prediction[band].long(), labels[band].long(), num_classes)
