"""Cross entropy of pixels from the logits of their regions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dht_mm.registry import MODELS
from dht_mm.structures import Partition
from dht_mm.structures.label_map import class_counts, pixel_classes

from .ranks import mean_per_rank
from .region_logits import class_weights, float_logits, known_class_weights


@MODELS.register_module()
class RegionCrossEntropyLoss(nn.Module):
    """Mean cross entropy of the pixels that are not ignored, where a pixel has the logits of its region.

    It is the cross entropy of the painted map, without that map: the pixels of one class in one region have the same loss, so they
    are counted. In data-parallel training the mean is over the pixels of all processes.

    Args:
        loss_weight: Factor of the loss.
        class_weight: One weight for each class; the mean is weighted then. None is 1 for all.
        loss_name: Name in the log; only names with 'loss' in them are optimised.

    Raises:
        ValueError: ``class_weight`` has an entry that is negative or not finite.
    """

    class_weight: Tensor | None
    per_region = True  # tells a head to call this loss with region logits and the partition, not with a map of logits

    def __init__(self, loss_weight: float = 1.0, class_weight: Sequence[float] | None = None, loss_name: str = 'loss_ce') -> None:
        super().__init__()
        self.loss_weight, self.loss_name = loss_weight, loss_name
        self.register_buffer('class_weight', class_weights(class_weight), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, partition: Partition, ignore_index: int = 255) -> Tensor:
        """The loss of a batch.

        Args:
            logits: ``[R, K]`` float, one row a region in the order of the partition.
            labels: ``[B, H, W]`` integer, the class of each pixel or ``ignore_index``.
            partition: The regions.
            ignore_index: Label of ignored pixels, which may be a class.

        Returns:
            Scalar, at least float32; 0 if all pixels are ignored.

        Raises:
            ValueError: ``logits`` do not fit the partition or ``class_weight``, or ``labels`` do not fit the partition or K.
        """
        logits = float_logits(logits, partition)
        if labels.shape != partition.labels.shape:
            raise ValueError(f'labels must be of the size of the partition, {tuple(partition.labels.shape)}, got {tuple(labels.shape)}')
        num_classes = logits.shape[1]
        classes = pixel_classes(labels, num_classes, ignore_index)
        counts = class_counts(partition.packed_labels, classes, len(logits), num_classes)[:, :num_classes]
        weight = counts * known_class_weights(self.class_weight, logits, ignore_index)
        total = mean_per_rank(weight.sum()).clamp_min(torch.finfo(weight.dtype).tiny)
        return -self.loss_weight * (weight * logits.log_softmax(1)).sum() / total
