"""What losses of region logits check and weigh alike."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dht_mm.structures import Partition


def class_weights(class_weight: Sequence[float] | None) -> Tensor | None:
    """One weight for each class as a tensor; None stays None.

    Raises:
        ValueError: A weight is negative or not finite.
    """
    if class_weight is not None and not all(0 <= weight < math.inf for weight in class_weight):
        raise ValueError(f'class_weight must be finite numbers from 0 on, got {class_weight}')
    return None if class_weight is None else torch.tensor(class_weight)


def known_class_weights(class_weight: Tensor | None, logits: Tensor, ignore_index: int) -> Tensor:
    """``[K]`` weights like ``logits``: ``class_weight`` or 1 for each class, and 0 for an ignored one.

    Raises:
        ValueError: There is not one weight for each class.
    """
    num_classes = logits.shape[1]
    if class_weight is not None and len(class_weight) != num_classes:
        raise ValueError(f'class_weight must have one entry for each of {num_classes} classes, got {len(class_weight)}')
    weight = logits.new_ones(num_classes) if class_weight is None else class_weight.to(logits, copy=True)
    if 0 <= ignore_index < num_classes:
        weight[ignore_index] = 0
    return weight


def float_logits(logits: Tensor, partition: Partition) -> Tensor:
    """``[R, K]`` logits in at least float32.

    Raises:
        ValueError: There is not one row for each region, or there are fewer than two classes.
    """
    if logits.dim() != 2 or logits.shape[0] != partition.total_regions or logits.shape[1] < 2:
        raise ValueError(f'logits must be [R, K] with R = {partition.total_regions} regions and K at least 2 classes, '
                         f'got shape {tuple(logits.shape)}')
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
