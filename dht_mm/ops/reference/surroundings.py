"""Colours of pixels and of their surroundings, in plain tensor operations."""

import torch
import torch.nn.functional as F
from torch import Tensor


def surroundings(image: Tensor, rows: Tensor, columns: Tensor, near: int, wide: int) -> Tensor:
    """See :func:`dht_mm.ops.surroundings`; ``wide`` is 0 for none."""
    if image.device.type == 'cpu':
        image, rows = _reached(image, rows, max(near, wide) // 2)
    means, deviations = [], []
    for side in (near, wide) if wide else (near,):
        mean = _around(image, side)
        means.append(mean)
        if wide:
            deviations.append((_around(image.square(), side) - mean.square()).clamp_min(0).sqrt())
    return torch.cat([plane[:, :, rows][..., columns] for plane in (image, *means, *deviations)], 1)


def _reached(image: Tensor, rows: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """The part of an image within reach of some rows, and the rows in it; elsewhere than on a CPU it would take waiting to find it."""
    if not len(rows):
        return image, rows
    top = max(0, int(rows.min()) - reach)
    return image[:, :, top:int(rows.max()) + reach + 1], rows - top


def _around(image: Tensor, side: int) -> Tensor:
    """Means over squares of a side, what lies beyond the border left out: the means of rows of means of columns."""
    columns = F.avg_pool2d(image, (side, 1), stride=1, padding=(side // 2, 0), count_include_pad=False)
    return F.avg_pool2d(columns, (1, side), stride=1, padding=(0, side // 2), count_include_pad=False)
