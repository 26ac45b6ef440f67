"""How well the segments of an annotation can be put together from regions.

With several annotations of an image every score is the mean over them. ``ignore_index`` is the label of pixels that an annotation
leaves open; they are in no region and no segment here.
"""

import torch
from torch import Tensor

from .label_maps import LabelMap, Segmentations, label_map, mean_over, segmentations


def undersegmentation_error(labels: LabelMap, truths: Segmentations, ignore_index: int | None = None) -> float:
    """Share of the pixels by which regions leak over the segments' borders.

    ``1 / N * sum over segments G and regions S of min(|S and G|, |S outside G|)``: the formula of Neubert and Protzel (Superpixel
    benchmark and comparison, 2012), which Stutz, Hermans and Leibe (Superpixels: an evaluation of the state of the art, 2018) use too.
    A region that lies half in each of two segments counts wholly, so the error can be more than ``1 - achievable accuracy``.

    Args:
        labels: ``[H, W]`` integer, region of each pixel.
        truths: One segmentation ``[H, W]``, several, or ``[A, H, W]``.
        ignore_index: Label of pixels of no segment.

    Returns:
        The mean over segmentations, 0 at best; NaN without a pixel in a segment.

    Raises:
        TypeError: Labels are not of integers.
        ValueError: Labels are negative, empty or of different sizes.
    """
    errors = []
    for regions, counts in _overlaps(labels, truths, ignore_index):
        size = counts.new_zeros(int(regions.max()) + 1 if len(regions) else 0).index_add(0, regions, counts)
        errors.append(torch.minimum(counts, size[regions] - counts).sum().double() / counts.sum())
    return mean_over(torch.stack(errors))


def achievable_accuracy(labels: LabelMap, truths: Segmentations, ignore_index: int | None = None) -> float:
    """Achievable segmentation accuracy: share of the pixels that are right when each region takes its most frequent segment.

    ``1 / N * sum over regions S of max over segments G of |S and G|`` (Liu et al., Entropy rate superpixel segmentation, 2011). What
    van den Bergh et al. (SEEDS, 2012) call undersegmentation error is 1 minus this.

    Args, returns (1 at best) and errors are those of :func:`undersegmentation_error`.
    """
    accuracies = []
    for regions, counts in _overlaps(labels, truths, ignore_index):
        most = counts.new_zeros(int(regions.max()) + 1 if len(regions) else 0).scatter_reduce(0, regions, counts, 'amax')
        accuracies.append(most.sum().double() / counts.sum())
    return mean_over(torch.stack(accuracies))


def best_overlap_agreement(labels: LabelMap, other: LabelMap) -> float:
    """How far two partitions of one image agree, whatever their regions are called.

    The share of the pixels that lie in the region of the other partition which their own region overlaps most; of the two directions
    the smaller one. So it is 1 for equal partitions only, and splitting or uniting regions lowers it.

    Args:
        labels: ``[H, W]`` integer, region of each pixel.
        other: ``[H, W]`` integer, region of each pixel in the other partition.

    Raises:
        TypeError: Labels are not of integers.
        ValueError: Labels are negative, empty or of different sizes.
    """
    return min(achievable_accuracy(labels, other), achievable_accuracy(other, labels))


def majority_confusion(labels: LabelMap, truth: LabelMap, num_classes: int, ignore_index: int = 255) -> Tensor:
    """Confusion matrix when each region takes the class that most of its labelled pixels have, the first of equals.

    Added up over a data set it gives, by :func:`mean_iou`, the most that a classifier of these regions can reach, or nearly: the
    majority is the best for accuracy, and an IoU could still gain a little from another choice.

    Args:
        labels: ``[H, W]`` integer, region of each pixel.
        truth: ``[H, W]`` integer, class of each pixel, below ``num_classes`` or ``ignore_index``.
        num_classes: Classes, K.
        ignore_index: Label of pixels of no class.

    Returns:
        ``[K, K]`` int64, pixels by predicted (row) and true class.

    Raises:
        TypeError: Labels are not of integers.
        ValueError: Labels are negative, empty, of different sizes or no class.
    """
    labels = label_map(labels)
    classes, = segmentations(truth, labels)
    kept = classes != ignore_index
    labels, classes = labels[kept], classes[kept]
    if len(classes) and classes.max() >= num_classes:
        raise ValueError(f'truth must be below num_classes={num_classes} or ignore_index={ignore_index}, got {classes.max().item()}')
    rows = int(labels.max()) + 1 if len(labels) else 0
    shared = torch.bincount(labels * num_classes + classes, minlength=rows * num_classes).view(rows, num_classes)
    return shared.new_zeros(num_classes, num_classes).index_add(0, shared.argmax(1), shared)


def mean_iou(confusion: Tensor) -> float:
    """Mean intersection over union of the classes that occur in a ``[K, K]`` confusion matrix, in [0, 1]; NaN if none does."""
    confusion = confusion.double()
    hit = confusion.diag()
    union = confusion.sum(0) + confusion.sum(1) - hit
    return mean_over(hit / union)  # 0 / 0, a class that does not occur, is NaN and left out


def _overlaps(labels: LabelMap, truths: Segmentations, ignore_index: int | None) -> list[tuple[Tensor, Tensor]]:
    """For each segmentation the pairs of a region and a segment that share pixels: ``[P]`` region and ``[P]`` shared pixels."""
    labels = label_map(labels)
    tables = []
    for truth in segmentations(truths, labels):
        kept = slice(None) if ignore_index is None else truth != ignore_index
        columns = truth.max() + 1
        pairs, counts = (labels * columns + truth)[kept].unique(return_counts=True)
        tables.append((pairs // columns, counts))
    return tables
