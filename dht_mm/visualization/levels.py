"""Levels of a tokenizer's hierarchy: the regions of each, and from which one every region of the result was selected."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Forest(Protocol):
    """What this room reads of the hierarchy that ``DHTTokenizer.hierarchy`` returns, see ``dht_mm.ops.Hierarchy``.

    Attributes:
        labels: ``[B, H, W]`` int, region of each pixel.
        node: ``[R]`` int, selected node of each region.
        parent: ``[n]`` int, node of the next level.
        level_starts: ``[L + 3]`` int64: first node of the pixels, of each of L levels, of the whole images, and their end.
    """

    labels: Tensor
    node: Tensor
    parent: Tensor
    level_starts: Tensor


def num_levels(hierarchy: Forest) -> int:
    """Levels L above the pixels and below the whole image; images of a batch that stopped earlier repeat their last one."""
    return len(hierarchy.level_starts) - 3


def level_labels(hierarchy: Forest, level: int) -> np.ndarray:
    """The regions of one level.

    Args:
        hierarchy: A hierarchy of B images.
        level: 0 for pixels, 1 to L for the merged levels, L + 1 for whole images.

    Returns:
        ``[B, H, W]`` int64, numbered from 0 without gaps over the whole batch.

    Raises:
        ValueError: There is no such level.
    """
    last = num_levels(hierarchy) + 1
    if not 0 <= level <= last:
        raise ValueError(f'level must be from 0 (pixels) to {last} (whole images), got {level}')
    node = torch.arange(hierarchy.labels.numel(), device=hierarchy.parent.device)
    for _ in range(level):
        node = hierarchy.parent[node].long()
    return (node - hierarchy.level_starts[level]).view(hierarchy.labels.shape).cpu().numpy()


def selected_levels(hierarchy: Forest) -> np.ndarray:
    """``[R]`` int64, the level that each region was selected from: 0 for a pixel, L + 1 for a whole image."""
    return np.searchsorted(hierarchy.level_starts.cpu().numpy(), hierarchy.node.cpu().numpy(), side='right') - 1
