"""Mean injection: how gradients of the transformer reach the tokenizer (paper section 3.5)."""

from torch import Tensor

from dht_mm.ops import region_mean
from dht_mm.structures import Partition


def mean_shift(image: Tensor, partition: Partition) -> Tensor:
    """What mean injection adds to the pixels of each region, ``(W f* + b) - mean_S(x)``.

    Args:
        image: ``[B, C, H, W]`` float, the normalised images.
        partition: Their regions; ``color`` carries the gradient to the tokenizer.

    Returns:
        ``[R, C]``, in the dtype of ``image``.
    """
    return partition.color.to(image.dtype) - region_mean(image, partition.labels, partition.offsets, partition.size)


def inject_mean(image: Tensor, partition: Partition) -> Tensor:
    """Replace the mean colour of every region by its predicted colour, ``x + (W f* + b) - mean_S(x)``.

    Args:
        image: ``[B, C, H, W]`` float, the normalised images.
        partition: Their regions; ``color`` carries the gradient to the tokenizer.

    Returns:
        ``[B, C, H, W]``, in the dtype of ``image``.
    """
    return image + partition.scatter(mean_shift(image, partition))
