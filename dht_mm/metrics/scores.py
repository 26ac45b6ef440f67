"""All scores of one partition, and their means over a data set."""

import math
from collections.abc import Sequence

from .boundary import boundary_precision, boundary_recall
from .color import explained_variation, reconstruction_psnr
from .label_maps import LabelMap, Picture, Segmentations
from .overlap import achievable_accuracy, undersegmentation_error
from .shape import compactness, num_regions


def partition_scores(labels: LabelMap, image: Picture, truths: Segmentations | None = None, tolerance: int = 1,
                     ignore_index: int | None = None) -> dict[str, float]:
    """Every score of this room that the given data allow.

    Args:
        labels: ``[H, W]`` integer, region of each pixel.
        image: ``[H, W, C]`` uint8.
        truths: Segmentations by people: one ``[H, W]``, several, or ``[A, H, W]``; None leaves their scores out.
        tolerance: Of borders, in pixels.
        ignore_index: Label of pixels that segmentations leave open.

    Returns:
        ``regions``, ``explained_variation``, ``psnr``, ``compactness`` and, with segmentations, the means over them of
        ``boundary_recall``, ``boundary_precision``, ``undersegmentation_error`` and ``achievable_accuracy``.

    Raises:
        TypeError: Labels are not of integers or the image is not of uint8.
        ValueError: A map is empty, negative or of another size.
    """
    scores: dict[str, float] = dict(regions=num_regions(labels))
    if truths is not None:
        scores |= dict(
            boundary_recall=boundary_recall(labels, truths, tolerance, ignore_index),
            boundary_precision=boundary_precision(labels, truths, tolerance, ignore_index),
            undersegmentation_error=undersegmentation_error(labels, truths, ignore_index),
            achievable_accuracy=achievable_accuracy(labels, truths, ignore_index))
    return scores | dict(explained_variation=explained_variation(labels, image), psnr=reconstruction_psnr(labels, image),
                         compactness=compactness(labels))


def mean_scores(results: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each score over the images for which it is defined; a score that is defined for none is left out."""
    names = dict.fromkeys(name for scores in results for name in scores)
    values = {name: [scores[name] for scores in results if not math.isnan(scores.get(name, math.nan))] for name in names}
    return {name: sum(numbers) / len(numbers) for name, numbers in values.items() if numbers}
