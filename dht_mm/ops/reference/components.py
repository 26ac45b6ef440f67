"""Connected components whose root is their smallest index, and their canonical numbering."""

import torch
from torch import Tensor


def jump_to_roots(parent: Tensor) -> Tensor:
    """Root of every node of a forest ``[n]`` (roots point at themselves), by pointer doubling."""
    while True:
        grandparent = parent[parent]
        if torch.equal(grandparent, parent):
            return parent
        parent = grandparent


def components_of_picks(pick: Tensor) -> Tensor:
    """Smallest index of each node's component, where every node picks one neighbour or itself.

    Picks follow the largest (weight, label), so along a path weights never fall, and where they are equal labels rise every second
    step: the only cycles are mutual picks and self picks.

    Args:
        pick: ``[n]`` int64.

    Returns:
        ``[n]`` int64.
    """
    index = torch.arange(pick.numel(), device=pick.device)
    mutual_low = (pick[pick] == index) & (index < pick)
    root = jump_to_roots(torch.where(mutual_low, index, pick))
    smallest = index.scatter_reduce(0, root, index, 'amin')
    return smallest[root]


def merge_edges(root: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Smallest index of each node's component after joining the ends of edges.

    Args:
        root: ``[n]`` int64, a forest to start from in which roots are the smallest index of their tree.
        first: ``[m]`` int64, one end of each edge.
        second: ``[m]`` int64, the other end.

    Returns:
        ``[n]`` int64.
    """
    root = jump_to_roots(root)
    while True:
        low, high = torch.aminmax(torch.stack([root[first], root[second]]), dim=0)
        open_edge = low != high
        if not open_edge.any():
            return root
        first, second, low, high = first[open_edge], second[open_edge], low[open_edge], high[open_edge]
        root = jump_to_roots(root.scatter_reduce(0, high, low, 'amin'))


def number_roots(root: Tensor) -> tuple[Tensor, Tensor]:
    """Consecutive numbers of components in the order of their roots.

    Args:
        root: ``[n]`` int64, smallest index of each node's component.

    Returns:
        ``[n]`` int64, number of each node's component, and ``[c]`` int64, the roots.
    """
    is_root = root == torch.arange(root.numel(), device=root.device)
    number = is_root.long().cumsum(0) - 1
    return number[root], is_root.nonzero().squeeze(1)
