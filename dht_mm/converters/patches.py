"""Patch embeddings of another patch size."""

import torch
from torch import Tensor


def resize_patches(weight: Tensor, patch_size: int) -> Tensor:
    """Weights of larger or smaller patches that answer as the given ones do (Beyer et al., 2023, FlexiViT, "PI-resize").

    Regions are resampled bilinearly, border pixels onto border pixels. With ``A`` the matrix of this map along a side and ``x`` a
    patch of the old size, the new weight is the smallest one that comes nearest to ``<w', A x A^T> = <w, x>`` for all ``x``. For
    larger patches that is an equality: squares of the old size, resampled to the new one, are embedded exactly as before.

    Args:
        weight: ``[D, C, q, q]``, of the patch convolution.
        patch_size: Side of the new patches.

    Returns:
        ``[D, C, patch_size, patch_size]``, float32.
    """
    inverse = torch.linalg.pinv(_resampling(weight.shape[-1], patch_size))
    return (inverse.T @ weight.double() @ inverse).float()


def _resampling(size: int, new_size: int) -> Tensor:
    """``[new_size, size]`` float64, how samples at equal distances from the first pixel to the last are read."""
    places = torch.linspace(0, size - 1, new_size, dtype=torch.float64)
    return (1 - (places[:, None] - torch.arange(size)).abs()).clamp(min=0)
