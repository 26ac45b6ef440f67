"""Mean injection: how gradients of the transformer reach the tokenizer (paper section 3.5)."""

from torch import Tensor

from dht_mm.structures import Partition


def inject_mean(image: Tensor, partition: Partition) -> Tensor:
    """Replace the mean colour of every region by its predicted colour, ``x + (W f* + b) - mean_S(x)``.

    Args:
        image: ``[B, C, H, W]`` float, the normalised images.
        partition: Their regions; ``color`` carries the gradient to the tokenizer.

    Returns:
        ``[B, C, H, W]``, in the dtype of ``image``.
    """
    shift = partition.color.to(image.dtype) - partition.pool(image)
    return image + partition.scatter(shift)
