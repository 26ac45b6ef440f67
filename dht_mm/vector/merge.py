"""Fewer regions for a drawing: neighbours are united where that costs the least squared error."""

import numpy as np

from .checks import Regions, label_map


def merge_regions(image: np.ndarray, labels: Regions, count: int) -> np.ndarray:
    """Merge neighbouring regions until ``count`` are left (Ward, Hierarchical Grouping to Optimize an Objective Function, 1963).

    The cost of a merge is what it adds to the squared error of painting each region in its mean colour. In each round all pairs merge
    that are the cheapest to each other, the cheapest pairs first; ties go to the pair that comes first.

    Args:
        image: ``[H, W, C]`` numbers.
        labels: A partition of it, or a label map ``[H, W]`` of connected regions numbered in raster order of their first pixels.
        count: Regions to leave, at least 1; a partition of no more stays as it is.

    Returns:
        ``[H, W]`` labels, numbered in the same order.

    Raises:
        TypeError: ``labels`` are no integers.
        ValueError: ``count`` is not positive, ``image`` is of another form, or ``labels`` are not of its size or have gaps.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
        raise ValueError(f'count must be an integer of at least 1, got {count!r}')
    if not isinstance(image, np.ndarray) or image.ndim != 3 or not image.size or image.dtype.kind not in 'uif':
        raise ValueError(f'image must be an array of numbers [H, W, C], got {getattr(image, "dtype", type(image).__name__)} of shape '
                         f'{getattr(image, "shape", None)}')
    labels = label_map(labels, image.shape[:2])
    if labels.min() < 0 or labels.max() >= labels.size or not (size := np.bincount(labels.ravel())).all():
        raise ValueError(f'labels must be numbered from 0 without gaps, got labels from {labels.min()} to {labels.max()}')
    total = np.stack([np.bincount(labels.ravel(), channel.ravel()) for channel in np.moveaxis(image, -1, 0)], 1)
    parent, pairs = np.arange(len(size)), _neighbours(labels)
    while len(size) > count:
        chosen = pairs[:, _mutually_cheapest(_cost(pairs[0], pairs[1], size, total), pairs, len(size))[:len(size) - count]]
        root = np.arange(len(size))
        root[chosen[1]] = chosen[0]
        number = np.unique(root, return_inverse=True)[1]
        size = np.bincount(number, size)
        total = np.stack([np.bincount(number, channel) for channel in total.T], 1)
        parent, pairs = number[parent], _distinct(number[pairs])
    return parent[labels]


def _neighbours(labels: np.ndarray) -> np.ndarray:
    """``[2, E]``: pairs of regions that share a border, the smaller label first."""
    right = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()])
    down = np.stack([labels[:-1].ravel(), labels[1:].ravel()])
    return _distinct(np.concatenate([right, down], 1))


def _distinct(pairs: np.ndarray) -> np.ndarray:
    low, high = np.minimum(*pairs), np.maximum(*pairs)
    keys = np.unique((low << 32 | high)[low < high])  # one number a pair sorts many times faster than two
    return np.stack([keys >> 32, keys & 0xFFFFFFFF])


def _cost(first: np.ndarray, second: np.ndarray, size: np.ndarray, total: np.ndarray) -> np.ndarray:
    """``[E]``: ``m_u m_v / (m_u + m_v) |c_u - c_v|^2`` with mean colours ``c``."""
    mean = total / size[:, None]
    return size[first] * size[second] / (size[first] + size[second]) * ((mean[first] - mean[second]) ** 2).sum(1)


def _mutually_cheapest(cost: np.ndarray, pairs: np.ndarray, regions: int) -> np.ndarray:
    """Pairs that are the cheapest of both their regions, the cheapest first."""
    order = np.argsort(cost, kind='stable')
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    best = np.full(regions, len(order))
    for ends in pairs:
        np.minimum.at(best, ends, rank)
    return order[((best[pairs[0]] == rank) & (best[pairs[1]] == rank))[order]]
