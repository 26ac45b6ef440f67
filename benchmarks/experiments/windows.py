"""Windows of a patch's size in the middle of regions."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dht_mm.ops import region_mean
from dht_mm.structures import Partition


@dataclass
class Windows:
    """Where each region's window lies. ``R`` regions; the image as the plain ViT would see it has ``patch`` pixels a cell.

    Attributes:
        centroid: ``[R, 2]`` float, y and x in pixels of the full image.
        top: ``[R, 2]`` int64, first row and column in the small image.
        scale: Pixels of the small image a pixel of the full image, along y and x.
        patch: Side of a window in pixels of the small image.
        grid: Patches of the small image along y and x.
    """

    centroid: Tensor
    top: Tensor
    scale: tuple[float, float]
    patch: int
    grid: tuple[int, int]

    def cut(self, small: Tensor, image: Tensor, zoom: int = 1) -> Tensor:
        """The windows of images.

        Args:
            small: ``[B, C, h, w]``, ``zoom`` times as large as the small image.
            image: ``[R]`` int64, the image of each region.
            zoom: Enlargement.

        Returns:
            ``[R, C, zoom * patch, zoom * patch]``.
        """
        step = torch.arange(self.patch * zoom, device=small.device)
        y, x = (self.top[:, axis, None] * zoom + step for axis in (0, 1))
        channel = torch.arange(small.shape[1], device=small.device)
        return small[image[:, None, None, None], channel[:, None, None], y[:, None, :, None], x[:, None, None, :]]

    def positions(self, cells: Tensor) -> Tensor:
        """Positional embeddings at the middle of the windows, resampled bicubically: exactly a patch's where the window is one.

        Args:
            cells: ``[D, cells]``, y-major.

        Returns:
            ``[R, D]``.
        """
        y, x = ((2 * self.top[:, axis] + self.patch) / (self.patch * side) - 1 for axis, side in enumerate(self.grid))
        place = torch.stack([x, y], 1)  # -1 to 1
        sampled = F.grid_sample(cells.unflatten(1, self.grid)[None], place[None, None], mode='bicubic', padding_mode='border',
                                align_corners=False)
        return sampled[0, :, 0].T


def find_windows(partition: Partition, grid: tuple[int, int], patch: int) -> Windows:
    """Windows around the centroid of each region, or, if that is not in the region, around its nearest pixel; moved into the image."""
    batch, height, width = partition.labels.shape
    device, packed = partition.labels.device, partition.packed_labels.flatten()
    y, x = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
    place = torch.stack([y.expand(height, width), x.expand(height, width)]).float()
    centroid = region_mean(place.expand(batch, -1, -1, -1), partition.labels, partition.offsets, partition.size)
    distance = (place.flatten(1).T.repeat(batch, 1) - centroid.index_select(0, packed)).square().sum(1)
    pixel = torch.arange(height * width, device=device).repeat(batch)
    key = (distance * 16).long() * (height * width) + pixel
    key = key.new_full((partition.total_regions,), 2**62).scatter_reduce(0, packed, key, 'amin')
    nearest, inside = key % (height * width), key // (height * width) <= 16 * 0.5
    centre = torch.where(inside[:, None], centroid, torch.stack([nearest // width, nearest % width], 1)) + 0.5
    scale = tuple(side * patch / length for side, length in zip(grid, (height, width), strict=True))
    top = [(centre[:, axis] * scale[axis] - patch / 2).round().long().clamp(0, (side - 1) * patch) for axis, side in enumerate(grid)]
    return Windows(centroid, torch.stack(top, 1), scale, patch, grid)
