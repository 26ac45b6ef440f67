"""Fewer regions for a drawing: neighbours are united where that costs the least squared error."""

import numpy as np

from .checks import Regions, label_map


def merge_regions(image: np.ndarray, labels: Regions, count: int) -> np.ndarray:
    """Merge neighbouring regions until ``count`` are left (Ward, Hierarchical Grouping to Optimize an Objective Function, 1963).

    The cost of a merge is what it adds to the squared error of painting each region in its mean colour. Rounds, in each of which all
    pairs merge that are the cheapest to each other, build a tree of merges; of these the cheapest are made. That comes nearly as
    close to the image as always merging the cheapest pair of all, without a queue. Ties go to the pair that comes first.

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
    excess = len(size) - count
    if excess <= 0:
        return labels
    total = np.stack([np.bincount(labels.ravel(), channel.ravel()) for channel in np.moveaxis(image, -1, 0)], 1)
    merges, height = _tree(size, total, _neighbours(labels), excess)
    cheapest = np.argsort(height, kind='stable')[:excess]  # a merge comes after those of its parts
    return _united(merges[:, cheapest], len(size))[labels]


def _tree(size: np.ndarray, total: np.ndarray, pairs: np.ndarray, excess: int) -> tuple[np.ndarray, np.ndarray]:
    """Merges of regions, at least the ``excess`` cheapest of the whole tree.

    Args:
        size: ``[R]`` int, pixels.
        total: ``[R, C]`` float, sums of colours.
        pairs: ``[2, E]`` int, neighbours.
        excess: Merges that are needed, less than R.

    Returns:
        ``[2, M]`` int, for each merge the least region of both its parts, the smaller first, and its height ``[M]``: its cost, or that of a
        merge inside its parts where that is larger.
    """
    least, floor = np.arange(len(size)), np.zeros(len(size))  # of each union, its least region and the height of its last merge
    merges, height, made = np.empty((2, len(size) - 1), np.int64), np.empty(len(size) - 1), 0
    while len(size) > 1:
        cost = _cost(pairs[0], pairs[1], size, total)
        if made >= excess and np.partition(height[:made], excess - 1)[excess - 1] <= cost.min():
            break  # what is still to come is dearer
        chosen = _mutually_cheapest(cost, pairs, len(size))
        keep, leave = pairs[:, chosen]
        floor[keep] = np.maximum(cost[chosen], np.maximum(floor[keep], floor[leave]))
        new = slice(made, made + len(chosen))
        merges[:, new], height[new], made = (least[keep], least[leave]), floor[keep], new.stop
        number, stays = _numbers(keep, leave, len(size))
        size = np.bincount(number, size)
        total = np.stack([np.bincount(number, channel) for channel in total.T], 1)
        least, floor, pairs = least[stays], floor[stays], _distinct(number[pairs])
    return merges[:, :made], height[:made]


def _numbers(keep: np.ndarray, leave: np.ndarray, regions: int) -> tuple[np.ndarray, np.ndarray]:
    """New number of each region after merges without a common part, in the order of the old ones, and which of them stay."""
    stays = np.ones(regions, dtype=bool)
    stays[leave] = False
    number = np.cumsum(stays) - 1
    number[leave] = number[keep]
    return number, stays


def _united(merges: np.ndarray, regions: int) -> np.ndarray:
    """``[R]`` int, number of the union of each region, in the order of their least regions."""
    parent = np.arange(regions)
    parent[merges[1]] = merges[0]
    while not np.array_equal(parent, above := parent[parent]):
        parent = above
    return np.unique(parent, return_inverse=True)[1]


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
    """Indices of pairs that are the cheapest of both their regions; of equally cheap ones, the first."""
    best = np.full(regions, np.inf)
    for ends in pairs:
        np.minimum.at(best, ends, cost)
    candidates = np.flatnonzero((cost == best[pairs[0]]) & (cost == best[pairs[1]]))
    first = np.full(regions, len(cost))
    for ends in pairs[:, candidates]:
        np.minimum.at(first, ends, candidates)
    return candidates[(first[pairs[:, candidates]] == candidates).all(0)]
