"""Image-level classification loss: the class token against the set of classes in the image."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dht_mm.registry import MODELS
from dht_mm.structures.label_map import class_counts, pixel_classes

from .ranks import mean_over_ranks


def image_targets(counts: Tensor, power: float) -> Tensor:
    """Soft set of an image's classes: each class's share of the pixels, raised to ``power``, normalised to sum 1.

    Args:
        counts: ``[B, K]`` integer, pixels of each class in each image.
        power: Exponent; 1 keeps the shares, 0 gives every class that occurs the same value.

    Returns:
        ``[B, K]`` float32; 0 for an image without a class.
    """
    shares = counts.double().pow(power) * (counts > 0)  # 0 ** 0 would be 1
    return (shares / shares.sum(1, keepdim=True).clamp_min(torch.finfo(shares.dtype).tiny)).float()


@MODELS.register_module()
class ImageBCELoss(nn.Module):
    """Binary cross entropy of the class token's logits against :func:`image_targets`, mean over classes and images.

    An ignored class weighs 0, and so does an image in which every pixel is ignored. Source: the published code's image loss.

    Args:
        power: Exponent of the pixel shares in the target.
        loss_weight: Factor of the loss.
        loss_name: Name in the log; only names with 'loss' in them are optimised.

    Raises:
        ValueError: ``power`` is negative or not finite.
    """

    def __init__(self, power: float = 0.25, loss_weight: float = 1.0, loss_name: str = 'loss_image') -> None:
        super().__init__()
        if not 0 <= power < math.inf:
            raise ValueError(f'power must be a finite number from 0 on, got {power}')
        self.power = power
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(self, logits: Tensor, labels: Tensor, ignore_index: int = 255) -> Tensor:
        """The loss of a batch.

        Args:
            logits: ``[B, K]`` float, one row an image.
            labels: ``[B, H, W]`` integer, the class of each pixel or ``ignore_index``.
            ignore_index: Label of ignored pixels, a class of weight 0 if in ``[0, K)``.

        Returns:
            Scalar, at least float32.

        Raises:
            ValueError: ``logits`` and ``labels`` are of another number of images, or a label is out of range.
        """
        if logits.dim() != 2 or logits.shape[0] != labels.shape[0]:
            raise ValueError(f'logits must be [B, K] with B = {labels.shape[0]} images, got shape {tuple(logits.shape)}')
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        images, num_classes = logits.shape
        classes = pixel_classes(labels, num_classes, ignore_index)
        index = torch.arange(images, device=labels.device)[:, None, None]
        counts = class_counts(index, classes, images, num_classes)[:, :num_classes]
        known = torch.arange(num_classes, device=labels.device) != ignore_index
        weight = known & (counts * known).any(1, keepdim=True)
        targets = image_targets(counts, self.power).to(logits)
        bce = F.binary_cross_entropy_with_logits(logits, targets, weight.to(logits), reduction='none')
        return self.loss_weight * mean_over_ranks(bce)
