"""What metrics accept: label maps and pictures, as tensors or arrays."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LabelMap = Tensor | np.ndarray  # [H, W] integer
Segmentations = LabelMap | Sequence[LabelMap]  # one [H, W], several of them, or [A, H, W]
Picture = Tensor | np.ndarray  # [H, W, C] uint8


def label_map(labels: LabelMap) -> Tensor:
    """A partition's ``[H, W]`` labels as int64.

    Labels need not be without gaps; those too large to count in a table of one row a label are renumbered.

    Raises:
        TypeError: ``labels`` is not of integers.
        ValueError: ``labels`` is not ``[H, W]``, has no pixel or is negative somewhere.
    """
    labels = _integers('labels', labels)
    if labels.dim() != 2 or labels.numel() == 0:
        raise ValueError(f'labels must be a non-empty label map [H, W], got shape {tuple(labels.shape)}')
    return labels if labels.max() < labels.numel() else labels.unique(return_inverse=True)[1]


def segmentations(truths: Segmentations, labels: Tensor) -> Tensor:
    """``[A, H, W]`` int64 ground truth on the device of ``labels``, whose size it must have.

    Raises:
        TypeError: A segmentation is not of integers.
        ValueError: There is none, or one is negative somewhere or of another size than ``labels``.
    """
    if isinstance(truths, Sequence) and not isinstance(truths, (str, bytes)):
        if not len(truths):
            raise ValueError('truths must hold at least one segmentation, got none')
        truths = torch.cat([segmentations(truth, labels) for truth in truths])
    truths = _integers('truths', truths).to(labels.device)
    if truths.dim() not in (2, 3) or truths.shape[-2:] != labels.shape or truths.numel() == 0:
        raise ValueError(f'truths must be [H, W] or [A, H, W] of the size of labels, {tuple(labels.shape)}, got {tuple(truths.shape)}')
    return truths.reshape(-1, *labels.shape)


def picture(image: Picture, labels: Tensor | None = None) -> Tensor:
    """The ``[H, W, C]`` uint8 picture as a tensor, on the device of ``labels``, whose size it must have.

    Raises:
        TypeError: ``image`` is not uint8.
        ValueError: ``image`` is not ``[H, W, C]``, is empty, or has another size than ``labels``.
    """
    if not isinstance(image, (Tensor, np.ndarray)):
        raise TypeError(f'image must be a uint8 tensor or array, got {image!r}')
    image = torch.as_tensor(image)
    if image.dtype != torch.uint8:
        raise TypeError(f'image must be uint8, got {image.dtype}')
    if image.dim() != 3 or image.numel() == 0:
        raise ValueError(f'image must be a non-empty picture [H, W, C], got shape {tuple(image.shape)}')
    if labels is None:
        return image
    if image.shape[:2] != labels.shape:
        raise ValueError(f'image must have the size of labels, {tuple(labels.shape)}, got {tuple(image.shape[:2])}')
    return image.to(labels.device)


def mean_over(values: Tensor) -> float:
    """The mean of the values that are defined; NaN where none is."""
    return values.double().nanmean().item()


def _integers(name: str, values: LabelMap) -> Tensor:
    if not isinstance(values, (Tensor, np.ndarray)):
        raise TypeError(f'{name} must be an integer tensor or array, got {values!r}')
    values = torch.as_tensor(values)
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f'{name} must be integers, got {values.dtype}')
    values = values.long()
    if values.numel() and values.min() < 0:
        raise ValueError(f'{name} must not be negative, got {values.min().item()}')
    return values
