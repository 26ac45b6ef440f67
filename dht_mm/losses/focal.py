"""Focal loss of regions against soft targets."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dht_mm.registry import MODELS
from dht_mm.structures import Partition

from .ranks import mean_over_ranks
from .region_logits import class_weights, float_logits, known_class_weights
from .region_targets import region_targets


def focal_scale(gamma: float) -> float:
    """The factor ``(gamma + 1) / H(gamma + 1)``, H being the harmonic number, for any real ``gamma >= 0``.

    It undoes the shrinking by the focal factor: the integral of ``-(1 - p)**gamma log p`` over p in [0, 1] is its inverse.
    """
    upper, lower = torch.tensor([gamma + 2.0, 1.0], dtype=torch.float64).digamma().tolist()
    return (gamma + 1) / (upper - lower)


def soft_focal(logits: Tensor, targets: Tensor, weight: Tensor, gamma: float) -> Tensor:
    """Soft-target cross entropy times ``(1 - p)**gamma``, p being the probability of the target's largest class.

    The gradient passes through the factor too, which is taken as ``exp(gamma log(1 - p))`` with ``log(1 - p)`` from the other
    classes' logits: exact and of finite gradient where p rounds to 1.

    Args:
        logits: ``[R, K]`` float, K at least 2.
        targets: ``[R, K]`` float, rows of sum 1, or 0 for a region that does not count.
        weight: ``[K]`` float, the weight of each class in the cross entropy.
        gamma: Exponent of the focal factor, at least 0.

    Returns:
        ``[R]`` loss of each region, without :func:`focal_scale`.
    """
    cross_entropy = -(targets * weight * logits.log_softmax(1)).sum(1)
    largest = targets.argmax(1, keepdim=True)
    others = logits.scatter(1, largest, -math.inf)
    return cross_entropy * (gamma * (others.logsumexp(1) - logits.logsumexp(1))).exp()


@MODELS.register_module()
class RegionFocalLoss(nn.Module):
    """Focal loss of region logits against the overlaps of the regions with the ground-truth masks.

    The loss is the mean over all regions (of all processes) of :func:`soft_focal` against :func:`region_targets`, times
    :func:`focal_scale`; an ignored class weighs 0. Regions that no class overlaps, such as those of padding, are not among them.
    Source: the published code's dense loss, without label smoothing.

    Args:
        gamma: Exponent of the focal factor; any real number from 0 on.
        loss_weight: Factor of the loss.
        class_weight: One weight for each class; None is 1 for all.
        loss_name: Name in the log; only names with 'loss' in them are optimised.

    Raises:
        ValueError: ``gamma`` is negative or not finite, or ``class_weight`` has a negative entry.
    """

    per_region = True  # tells a head to call this loss with region logits and the partition, not with a map of logits

    def __init__(self, gamma: float = 4.0, loss_weight: float = 1.0, class_weight: Sequence[float] | None = None,
                 loss_name: str = 'loss_focal') -> None:
        super().__init__()
        if not 0 <= gamma < math.inf:
            raise ValueError(f'gamma must be a finite number from 0 on, got {gamma}')
        self.gamma = gamma
        self.loss_weight = loss_weight
        self.loss_name = loss_name
        self.register_buffer('class_weight', class_weights(class_weight), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, partition: Partition, ignore_index: int = 255) -> Tensor:
        """The loss of a batch.

        Args:
            logits: ``[R, K]`` float, one row a region in the order of the partition.
            labels: ``[B, H, W]`` integer, the class of each pixel or ``ignore_index``.
            partition: The regions.
            ignore_index: Label of ignored pixels, a class of weight 0 if in ``[0, K)``.

        Returns:
            Scalar, at least float32.

        Raises:
            ValueError: ``logits`` do not fit the partition or ``class_weight``, or ``labels`` do not fit the partition or K.
        """
        logits = float_logits(logits, partition)
        targets = region_targets(partition, labels, logits.shape[1], ignore_index)
        weight = known_class_weights(self.class_weight, logits, ignore_index)
        focal = mean_over_ranks(soft_focal(logits, targets, weight, self.gamma), counted=targets.any(1))
        return self.loss_weight * focal_scale(self.gamma) * focal
