"""The grid of square patches, as a partition: what a plain ViT tokenizes with."""

import torch
from torch import Tensor, nn

from dht_mm.registry import MODELS
from dht_mm.structures import Partition

from .check import check_images


@MODELS.register_module()
class GridTokenizer(nn.Module):
    """Partition images into squares; cells at the right and bottom border are cut off by it.

    Args:
        patch_size: Side of the squares in pixels.

    Raises:
        ValueError: ``patch_size`` is not a positive integer.
    """

    def __init__(self, patch_size: int):
        super().__init__()
        if isinstance(patch_size, bool) or not isinstance(patch_size, int) or patch_size < 1:
            raise ValueError(f'patch_size must be a positive integer, got {patch_size!r}')
        self.patch_size = patch_size

    def forward(self, images: Tensor) -> Partition:
        """``[B, C, H, W]`` float images to their partition; ``mean`` and ``color`` are the cells' mean pixels.

        Raises:
            TypeError: Images are not floating point.
            ValueError: Images are empty, not finite or not 4-dimensional.
        """
        check_images(images)
        batch, _, height, width = images.shape
        cells_in_row = -(-width // self.patch_size)
        y = torch.arange(height, device=images.device)[:, None] // self.patch_size
        x = torch.arange(width, device=images.device) // self.patch_size
        return Partition.from_labels((y * cells_in_row + x).expand(batch, -1, -1), images)
