"""Ground-truth label maps: which class each pixel has, and how often each class occurs in groups of pixels."""

import torch
from torch import Tensor


def pixel_classes(labels: Tensor, num_classes: int, ignore_index: int = 255) -> Tensor:
    """The class of each pixel, ``num_classes`` for pixels that are in no class.

    An ``ignore_index`` outside ``[0, num_classes)`` marks pixels of no class; one inside is a class like any other here.

    Args:
        labels: ``[B, H, W]`` integer, values in ``[0, num_classes)`` or ``ignore_index``.
        num_classes: Number of classes, K.
        ignore_index: Label of ignored pixels.

    Returns:
        ``[B, H, W]`` int64, values in ``[0, K]``.

    Raises:
        TypeError: ``labels`` is not an integer tensor, or a number is no integer.
        ValueError: ``labels`` is not three-dimensional or empty, or has a value that is neither a class nor ``ignore_index``.
    """
    if not isinstance(labels, Tensor):
        raise TypeError(f'labels must be an integer tensor, got {labels!r}')
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f'labels must be an integer tensor, got {labels.dtype}')
    if labels.dim() != 3 or labels.numel() == 0:
        raise ValueError(f'labels must be a non-empty [B, H, W], got shape {tuple(labels.shape)}')
    for name, number in dict(num_classes=num_classes, ignore_index=ignore_index).items():
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f'{name} must be an integer, got {number!r}')
    labels = labels.long()
    ignored = labels == ignore_index
    low, high = torch.stack(labels.masked_fill(ignored, 0).aminmax()).tolist()  # one read-back for both ends
    if low < 0 or high >= num_classes:
        raise ValueError(f'labels must lie in [0, {num_classes}) or be ignore_index={ignore_index}, '
                         f'got {low if low < 0 else high}')
    return labels if 0 <= ignore_index < num_classes else labels.masked_fill(ignored, num_classes)


def class_counts(rows: Tensor, classes: Tensor, num_rows: int, num_classes: int) -> Tensor:
    """Count the pixels of each class in each group of pixels.

    Args:
        rows: ``[B, H, W]`` int64 (or broadcastable to it), the group of each pixel, in ``[0, num_rows)``.
        classes: ``[B, H, W]`` int64 from :func:`pixel_classes`.
        num_rows: Number of groups, R.
        num_classes: Number of classes, K.

    Returns:
        ``[R, K + 1]`` int64; the last column counts the pixels of no class, so that a row sums to the size of its group.
    """
    cells = (rows * (num_classes + 1) + classes).flatten()
    counts = cells.new_zeros(num_rows * (num_classes + 1))
    return counts.scatter_add_(0, cells, cells.new_ones(1).expand_as(cells)).view(num_rows, num_classes + 1)
