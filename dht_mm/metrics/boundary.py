"""How well the borders of regions and those of annotations agree.

A border pixel has a 4-neighbour with another label, so a border is two pixels wide. A border pixel is found if one of the other map
lies in the square of ``tolerance`` pixels around it, as in Stutz, Hermans and Leibe (Superpixels: an evaluation of the state of the
art, 2018), who take 0.0025 of the image's diagonal: 1 pixel in BSDS500. Pixels are not paired off with each other, as the contour
benchmark of Martin, Fowlkes and Malik (2004) does. With several annotations every score is the mean over them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .label_maps import LabelMap, Segmentations, label_map, mean_over, segmentations


def boundary_recall(labels: LabelMap, truths: Segmentations, tolerance: int = 1, ignore_index: int | None = None) -> float:
    """Share of the annotation's border pixels that have a border pixel of the partition within ``tolerance`` rows and columns.

    Args:
        labels: ``[H, W]`` integer, region of each pixel.
        truths: One segmentation ``[H, W]``, several, or ``[A, H, W]``.
        tolerance: Half the side of the square to look in, in pixels.
        ignore_index: Label of pixels that the annotation leaves open; their border pixels are not asked for.

    Returns:
        The mean over segmentations; one without a border pixel counts as 1, nothing being missed.

    Raises:
        TypeError: Labels are not of integers.
        ValueError: Labels are negative, empty or of different sizes, or ``tolerance`` is negative.
    """
    ours, theirs, kept = _borders(labels, truths, tolerance, ignore_index)
    return _share(theirs & kept, near_pixels(ours[None], tolerance))


def boundary_precision(labels: LabelMap, truths: Segmentations, tolerance: int = 1, ignore_index: int | None = None) -> float:
    """Share of the partition's border pixels that have a border pixel of the annotation within ``tolerance`` rows and columns.

    Superpixels cut segments on purpose, so this is low by nature and falls with their number. Args, returns and errors are those of
    :func:`boundary_recall`; border pixels of the partition where the annotation is open are not counted.
    """
    ours, theirs, kept = _borders(labels, truths, tolerance, ignore_index)
    return _share(ours & kept, near_pixels(theirs, tolerance))


def border_pixels(labels: Tensor) -> Tensor:
    """``[..., H, W]`` bool: pixels with a 4-neighbour of another label."""
    border = torch.zeros_like(labels, dtype=torch.bool)
    vertical, horizontal = labels[..., 1:, :] != labels[..., :-1, :], labels[..., 1:] != labels[..., :-1]
    border[..., 1:, :] |= vertical
    border[..., :-1, :] |= vertical
    border[..., 1:] |= horizontal
    border[..., :-1] |= horizontal
    return border


def _borders(labels: LabelMap, truths: Segmentations, tolerance: int, ignore_index: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Border pixels of the partition, ``[H, W]``, and of the annotations, ``[A, H, W]``, and where these say anything."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, int) or tolerance < 0:
        raise ValueError(f'tolerance must be a non-negative integer, got {tolerance!r}')
    labels = label_map(labels)
    truths = segmentations(truths, labels)
    kept = torch.ones_like(truths, dtype=torch.bool) if ignore_index is None else truths != ignore_index
    return border_pixels(labels), border_pixels(truths), kept


def near_pixels(mask: Tensor, tolerance: int) -> Tensor:
    """``[A, H, W]`` bool: pixels with one of the mask at most ``tolerance`` rows and columns away."""
    return F.max_pool2d(mask[:, None].float(), 2 * tolerance + 1, 1, tolerance)[:, 0] > 0


def _share(asked: Tensor, found: Tensor) -> float:
    """Share of the pixels asked for that are found, in each of ``[A, H, W]``; the mean, where nothing asked for counts 1."""
    number = asked.flatten(1).sum(1)
    hits = (asked & found).flatten(1).sum(1).double()
    return mean_over(torch.where(number > 0, hits / number, 1.0))
