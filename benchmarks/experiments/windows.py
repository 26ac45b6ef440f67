"""Windows of a patch's size in the middle of regions."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dht_mm.ops import region_mean
from dht_mm.structures import Partition

# Steps of zooms an octave, up to one octave either way: of each content that has windows.
STEPS = dict(window=0, zoom=1, fit=2)


@dataclass
class Windows:
    """Where each region's window lies. ``R`` regions; the image as the plain ViT would see it has ``patch`` pixels a cell.

    Attributes:
        centroid: ``[R, 2]`` float, y and x in pixels of the full image.
        zoom: ``[R]`` float, how much larger than that image the one is that the window is cut from, one of ``zooms``.
        top: ``[R, 2]`` int64, first row and column in that one.
        scale: Pixels of the plain ViT's image a pixel of the full image, along y and x.
        patch: Side of a window.
        grid: Patches of the plain ViT's image along y and x.
        zooms: All zooms that there can be.
    """

    centroid: Tensor
    zoom: Tensor
    top: Tensor
    scale: tuple[float, float]
    patch: int
    grid: tuple[int, int]
    zooms: tuple[float, ...]

    def cut(self, maps: Callable[[float], Tensor], image: Tensor, times: int = 1) -> Tensor:
        """The windows of images.

        Args:
            maps: Gives ``[B, C, h, w]``, ``times`` as large as the image of a zoom.
            image: ``[R]`` int64, the image of each region.
            times: Enlargement of all.

        Returns:
            ``[R, C, times * patch, times * patch]``.
        """
        first, *others = self.zooms
        result = self._cut(maps(first * times), image, times)
        for zoom in others:
            here = (self.zoom / zoom - 1).abs() < 0.1
            result = torch.where(here[:, None, None, None], self._cut(maps(zoom * times), image, times), result)
        return result

    def _cut(self, pixels: Tensor, image: Tensor, times: int) -> Tensor:
        step = torch.arange(self.patch * times, device=pixels.device)
        y, x = ((self.top[:, axis, None] * times + step).clamp(max=pixels.shape[2 + axis] - 1) for axis in (0, 1))
        channel = torch.arange(pixels.shape[1], device=pixels.device)
        return pixels[image[:, None, None, None], channel[:, None, None], y[:, None, :, None], x[:, None, None, :]]

    def middle(self, axis: int) -> Tensor:
        """``[R]``: the windows' middle as a share of the image's height or width."""
        return (self.top[:, axis] + self.patch / 2) / (self.zoom * self.patch * self.grid[axis])

    def boxes(self) -> Tensor:
        """``[R, 4]``: top, left, bottom and right of the windows in pixels of the full image, the last two not inclusive."""
        ends = [(self.top[:, axis] + side) / (self.zoom * self.scale[axis]) for side in (0, self.patch) for axis in (0, 1)]
        return torch.stack(ends, 1)

    def positions(self, cells: Tensor) -> Tensor:
        """Positional embeddings at the middle of the windows, resampled bicubically: exactly a patch's where the window is one.

        Args:
            cells: ``[D, cells]``, y-major.

        Returns:
            ``[R, D]``.
        """
        # Each cell's weight in each window, along y times along x: products of matrices then have a faster gradient than sampling has.
        y, x = (self._weights_of_lines(axis) for axis in (0, 1))
        with torch.autocast(cells.device.type, enabled=False):
            return (y[:, :, None] * x[:, None]).flatten(1) @ cells.float().T

    def _weights_of_lines(self, axis: int) -> Tensor:
        """``[R, cells of an axis]``: weights of bicubic resampling."""
        each = torch.eye(self.grid[axis], device=self.top.device)[None, :, None]
        place = self.middle(axis).to(each.dtype) * 2 - 1
        place = torch.stack([place, torch.zeros_like(place)], -1)[None, None]
        return F.grid_sample(each, place, mode='bicubic', padding_mode='border', align_corners=False)[0, :, 0].T


def find_windows(partition: Partition, grid: tuple[int, int], patch: int, content: str) -> Windows:
    """Windows around the centroid of each region, or, if that is not in the region, around its nearest pixel; moved into the image.

    Args:
        partition: The regions.
        grid: Patches of the plain ViT's image along y and x.
        patch: Their side.
        content: ``'zoom'`` gives small regions windows of half a patch's side, and large ones of two; ``'fit'`` gives regions windows of
            about the size of their boxes within these bounds; all others a patch's side.
    """
    batch, height, width = partition.labels.shape
    device, packed = partition.labels.device, partition.packed_labels.flatten()
    y, x = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
    place = torch.stack([y.expand(height, width), x.expand(height, width)]).float()
    centroid = region_mean(place.expand(batch, -1, -1, -1), partition.labels, partition.offsets, partition.size)
    distance = (place.flatten(1).T.repeat(batch, 1) - centroid.index_select(0, packed)).square().sum(1)
    pixel = torch.arange(height * width, device=device).repeat(batch)
    key = (distance * 16).long() * (height * width) + pixel
    key = key.new_full((partition.total_regions,), 2**62).scatter_reduce(0, packed, key, 'amin')
    nearest, within = key % (height * width), key // (height * width) <= 16 * 0.5
    centre = torch.where(within[:, None], centroid, torch.stack([nearest // width, nearest % width], 1)).double() + 0.5
    steps = STEPS.get(content, 0)
    pixels = (partition.bbox[:, 2:] - partition.bbox[:, :2] + 1).prod(1) if content == 'fit' else partition.size
    octaves = (pixels.clamp_min(1) * (grid[0] * grid[1] / (height * width))).log2() / 2
    zoom = torch.exp2(-(octaves * steps).round().clamp(-steps, steps) / max(1, steps))
    zooms = tuple(2**(step / max(1, steps)) for step in range(-steps, steps + 1))
    scale = tuple(side * patch / length for side, length in zip(grid, (height, width), strict=True))
    top = []
    for axis, side in enumerate(grid):
        first = (centre[:, axis] * scale[axis] * zoom - patch / 2).round().long()
        top.append(torch.minimum(first, (side * patch * zoom - patch).long()).clamp(min=0))
    return Windows(centroid, zoom, torch.stack(top, 1), scale, patch, grid, zooms)
