"""Windows of one size in the middle of regions: what a patch is to a plain ViT."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dht_mm.ops import region_mean, region_pixels
from dht_mm.structures import Partition

NEAR = 0.5  # squared distance in pixels of a pixel from a point that lies within it
UNITS, FAR = 16, 2**27  # squared distances are compared in such parts, so that rounding decides nothing, and up to so many


@dataclass(frozen=True)
class Windows:
    """Where each region's window lies, in images scaled so that a window has ``patch_size`` pixels a side.

    Attributes:
        corner: ``[R, 2]`` int64, first row and column in the scaled image.
        centroid: ``[R, 2]`` float64, y and x of the region's mean pixel in the image as it is.
        size: Height and width of the scaled images.
        scale: Its pixels a pixel of the image as it is, along y and x.
        patch_size: Side of a window in the scaled images.
    """

    corner: Tensor
    centroid: Tensor
    size: tuple[int, int]
    scale: tuple[float, float]
    patch_size: int

    def cut(self, images: Tensor, partition: Partition) -> tuple[Tensor, Tensor]:
        """What lies in the windows.

        Args:
            images: ``[B, C, H, W]`` float, as they are.
            partition: Their regions.

        Returns:
            Pixels of the windows ``[R, C, patch_size, patch_size]``, and which of them are the region's own, 1 or 0, ``[R, 1, patch_size,
            patch_size]``.
        """
        labels = partition.labels
        if tuple(labels.shape[1:]) != self.size:
            images = F.interpolate(images, self.size, mode='bilinear', antialias=True, align_corners=False)
            y, x = (((torch.arange(count, device=labels.device) + 0.5) * (length / count)).long()
                    for count, length in zip(self.size, labels.shape[1:], strict=True))
            labels = labels[:, y[:, None], x]
        bbox = torch.cat([self.corner, self.corner + (self.patch_size - 1)], 1).int()
        return region_pixels(images, labels, partition.offsets, bbox, self.patch_size)  # as many points as pixels: these themselves

    @property
    def middle(self) -> Tensor:
        """``[R, 2]`` float64: y and x of the windows' middle as shares of the image's height and width."""
        return torch.stack([(self.corner[:, axis] + self.patch_size / 2).double() / self.size[axis] for axis in (0, 1)], 1)

    @property
    def boxes(self) -> Tensor:
        """``[R, 4]`` float32: top, left, bottom and right of the windows in pixels of the image; the last two are not inclusive."""
        ends = [(self.corner[:, axis] + side).double() / self.scale[axis] for side in (0, self.patch_size) for axis in (0, 1)]
        return torch.stack(ends, 1).float()


@torch.no_grad()
def find_windows(partition: Partition, patch_size: int, window_size: tuple[float, float]) -> Windows:
    """Windows around the centroid of each region or, if no pixel of it is there, around the pixel nearest to it; moved into the image.

    Which pixel is nearest is found in float64 and single operations, so that it is the same on every device and in every batch; of
    those whose squared distance differs by less than a sixteenth the first is taken.

    Args:
        partition: The regions.
        patch_size: Side of a window in the scaled images.
        window_size: Height and width of a window in the images as they are.
    """
    batch, height, width = partition.labels.shape
    size = tuple(max(patch_size, round(length * patch_size / side)) for length, side in zip((height, width), window_size, strict=True))
    scale = (size[0] / height, size[1] / width)
    centroid, nearest, inside = _centres(partition)
    place = torch.stack([nearest // width, nearest % width], 1)
    centre = torch.where(inside[:, None], centroid, place.double()) + 0.5
    corner = [(centre[:, axis] * scale[axis] - patch_size / 2).round().long().clamp(0, size[axis] - patch_size) for axis in (0, 1)]
    return Windows(torch.stack(corner, 1), centroid, size, scale, patch_size)


def _centres(partition: Partition) -> tuple[Tensor, Tensor, Tensor]:
    """Each region's centroid ``[R, 2]``, its pixel nearest to that, in raster order, and whether the centroid lies within that pixel."""
    batch, height, width = partition.labels.shape
    packed, pixels = partition.packed_labels.flatten(), height * width
    y, x = (torch.arange(length, dtype=torch.float32, device=packed.device) for length in (height, width))
    place = torch.stack([y[:, None].expand(height, width), x.expand(height, width)])
    centroid = region_mean(place.expand(batch, -1, -1, -1), partition.labels, partition.offsets, partition.size).double()
    away = [(place[axis].flatten().repeat(batch) - centroid[:, axis].index_select(0, packed)).square() for axis in (0, 1)]
    distance = ((away[0] + away[1]) * UNITS).long().clamp(max=FAR)
    pixel = torch.arange(pixels, device=packed.device).repeat(batch)
    key = distance.new_full((partition.total_regions,), (FAR + 1) * pixels).scatter_reduce(0, packed, distance * pixels + pixel, 'amin')
    return centroid, key % pixels, key // pixels <= NEAR * UNITS
