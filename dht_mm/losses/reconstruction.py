"""How well the predicted colours of the regions rebuild an image: the objective of tokenizer pre-training."""

from torch import Tensor, nn

from ..registry import MODELS
from ..structures import Partition
from .ranks import mean_over_ranks


def reconstruction_loss(images: Tensor, partition: Partition) -> Tensor:
    """Squared distance of every pixel to the predicted colour of its region, averaged over pixels (paper, ``L_rec``).

    Args:
        images: ``[B, C, H, W]`` float, normalised: what the partition was made from.
        partition: The partition of ``images``; gradients flow into its ``color``.

    Returns:
        A scalar: the sum over channels, the mean over all pixels of the batch, and of all processes in data-parallel training.

    Raises:
        ValueError: ``images`` are not of the partition's batch, size or number of channels.
    """
    painted = partition.scatter(partition.color)
    if painted.shape != images.shape:
        raise ValueError(f'images must be of the shape of the partition, {tuple(painted.shape)}, got {tuple(images.shape)}')
    return mean_over_ranks((images - painted).square().sum(1))


@MODELS.register_module()
class ReconstructionLoss(nn.Module):
    """:func:`reconstruction_loss` for configs."""

    def forward(self, images: Tensor, partition: Partition) -> Tensor:
        """See :func:`reconstruction_loss`."""
        return reconstruction_loss(images, partition)
