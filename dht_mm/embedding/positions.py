"""Position embeddings of another grid."""

import torch.nn.functional as F
from torch import Tensor


def resize_positions(weight: Tensor, grid: tuple[int, int], new_grid: tuple[int, int], antialias: bool = False) -> Tensor:
    """Resample the embeddings of a grid's cells bicubically, with the borders of both grids aligned.

    Args:
        weight: ``[D, y x]``, an embedding for each cell, y-major.
        grid: Its cells along y and x.
        new_grid: Those wanted.
        antialias: Whether to filter with a kernel that widens for a coarser grid, as timm does and mmpretrain does not.

    Returns:
        ``[D, y x]`` of the new grid, in the dtype of ``weight``; the same tensor where the grid stays.
    """
    if grid == new_grid:
        return weight
    cells = weight.float().unflatten(1, grid)[None]
    resized = F.interpolate(cells, new_grid, mode='bicubic', align_corners=False, antialias=antialias)
    return resized[0].flatten(1).to(weight.dtype)
