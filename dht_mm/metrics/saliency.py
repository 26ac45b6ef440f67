"""How well a map of saliency finds the pixels of the salient object."""

from typing import NamedTuple

import torch
from torch import Tensor

LEVELS = 256
BETA_SQUARED = 0.3  # precision weighs more than recall, as in Achanta et al. (2009)


class SaliencyScores(NamedTuple):
    """Scores of one image.

    Attributes:
        precision: ``[256]`` float64, of the pixels whose saliency is at least ``i / 255``; 0 where there is none.
        recall: ``[256]`` float64, likewise; 0 without a salient pixel in the ground truth.
        iou: Of the mask with the ground truth; 1 if both are empty.
        accuracy: Share of the pixels at which they agree.
    """

    precision: Tensor
    recall: Tensor
    iou: float
    accuracy: float


def saliency_scores(saliency: Tensor, mask: Tensor, truth: Tensor) -> SaliencyScores:
    """Compare the prediction of one image with its ground truth.

    Args:
        saliency: Float in [0, 1], of any shape.
        mask: Bool of the same shape, the predicted object.
        truth: Bool of the same shape, the true one.

    Returns:
        The scores, on the CPU.

    Raises:
        TypeError: ``mask`` or ``truth`` are not bool.
        ValueError: The maps differ in size or are empty, or ``saliency`` is out of range.
    """
    if mask.dtype != torch.bool or truth.dtype != torch.bool:
        raise TypeError(f'mask and truth must be bool, got {mask.dtype} and {truth.dtype}')
    if not saliency.shape == mask.shape == truth.shape or truth.numel() == 0:
        raise ValueError('saliency, mask and truth must be of the same size and not empty, got '
                         f'{tuple(saliency.shape)}, {tuple(mask.shape)} and {tuple(truth.shape)}')
    if not ((saliency >= 0) & (saliency <= 1)).all():
        raise ValueError(f'saliency must lie in [0, 1], got values from {saliency.min().item()} to {saliency.max().item()}')
    levels = (saliency.double() * (LEVELS - 1)).long()
    found, right = (_at_least(levels[chosen]) for chosen in (torch.ones_like(truth), truth))
    union = (mask | truth).sum().item()
    return SaliencyScores(right / found.clamp_min(1), right / truth.sum().cpu().clamp_min(1),
                          (mask & truth).sum().item() / union if union else 1.0, (mask == truth).double().mean().item())


def _at_least(levels: Tensor) -> Tensor:
    """``[256]`` float64, how many levels are ``i`` or more."""
    return torch.bincount(levels.flatten(), minlength=LEVELS).flip(0).cumsum(0).flip(0).double().cpu()


def max_f_measure(precision: Tensor, recall: Tensor) -> float:
    """The best F-measure over the thresholds, ``(1 + β²) P R / (β² P + R)`` with β² = 0.3.

    Args:
        precision: ``[256]``, the mean over images at each threshold.
        recall: ``[256]``, likewise.
    """
    f_measure = (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
    return f_measure.nan_to_num().max().item()
