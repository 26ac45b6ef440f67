"""Logits of pixels as weighted sums of rows of a table, in plain tensor operations."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class PixelScene(NamedTuple):
    """What the weights of a pixel's rows are reckoned from. ``R`` regions of images of ``C`` channels.

    Attributes:
        labels: ``[B, H, W]`` int32, the region of each pixel, numbered per image.
        offsets: ``[B + 1]`` int32, first row of each image.
        means: ``[R, 2 + C]`` float32, centroid y, x in pixels and mean colour.
        size: ``[R]`` int32, pixels.
        boxes: ``[R, 4]`` float32, what the squares divide: top, left, bottom, right in pixels; the last two are not inclusive.
        colours: ``[B, F, H, W]`` float32, what a pixel is described by: first its ``C`` colours.
        steps: ``[B, T, 2]`` int32, y and x from a pixel to the places whose regions are mixed, in pixels; the first is (0, 0).
        centred: Of the ``F`` planes of ``colours``, how many of the first are taken relative to the region's mean colour, channel after
            channel.
        side: Squares along a side of a box.
    """

    labels: Tensor
    offsets: Tensor
    means: Tensor
    size: Tensor
    boxes: Tensor
    colours: Tensor
    steps: Tensor
    centred: int
    side: int


def decode_pixels(table: Tensor, kernel: Tensor | None, scene: PixelScene, rows: slice | Tensor, columns: slice | Tensor) -> Tensor:
    """See :func:`dht_mm.ops.decode_pixels`; for some rows and columns, and differentiable to ``table`` and ``kernel``."""
    height, width = scene.labels.shape[1:]
    pixel = torch.stack(torch.meshgrid(_count(height, table)[rows], _count(width, table)[columns], indexing='ij'), -1)
    regions = _regions(scene, pixel)
    colours = scene.colours[:, :, rows][..., columns].movedim(1, -1)
    weights = None if kernel is None else _mix(regions, scene, pixel, colours, kernel)
    taps = [_squares(regions, weights, scene, pixel)]
    if len(table) > len(scene.size) * scene.side**2:
        taps.append(_features(regions[..., 0], scene, colours))
    read, weights = (torch.cat(part, -1).flatten(0, 2) for part in zip(*taps, strict=True))
    return F.embedding_bag(read, table, mode='sum', per_sample_weights=weights.to(table.dtype)).unflatten(0, regions.shape[:3])


def _regions(scene: PixelScene, pixel: Tensor) -> Tensor:
    """``[B, h, w, T]``: the regions of a pixel and of the points around it, beyond the border those at the border."""
    labels = scene.labels.long() + scene.offsets[:-1].long()[:, None, None]
    image = _count(len(labels), pixel)[:, None, None, None]
    places = (axis[:, :, None, None] + pixel[..., index] for index, axis in enumerate(scene.steps.long().unbind(-1)))
    y, x = (place.clamp(0, length - 1) for place, length in zip(places, labels.shape[1:], strict=True))
    return labels[image, y, x].movedim(1, -1)


def _mix(regions: Tensor, scene: PixelScene, pixel: Tensor, colours: Tensor, kernel: Tensor) -> Tensor:
    """``[B, h, w, T]``: weights of the regions, of sum 1."""
    own = colours[..., :scene.means.shape[1] - 2]
    place = torch.cat([pixel.expand(*own.shape[:3], 2), own], -1)
    away = (F.embedding(regions, scene.means) - place[:, :, :, None]).to(kernel.dtype)
    distance = away[..., :2].square().sum(-1) / scene.size[regions]
    return (kernel[2] * (regions == regions[..., :1]) - kernel[0] * distance - kernel[1] * away[..., 2:].square().sum(-1)).softmax(-1)


def _squares(regions: Tensor, weights: Tensor | None, scene: PixelScene, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """``[B, h, w, taps]``: squares that a pixel reads, and their weights: four of its own region, one of each other."""
    if weights is None:
        weights = torch.ones_like(regions, dtype=torch.float32)
    side = scene.side
    if side == 1:
        return regions, weights
    top, bottom = F.embedding(regions, scene.boxes).split(2, -1)
    inside = (pixel[:, :, None] + 0.5 - top) / (bottom - top).clamp_min(1e-6)  # rows of no region are read by no pixel
    inside = (inside * side - 0.5).clamp(0, side - 1)
    nearest = inside[..., 1:, :].round().long()
    low = inside[..., 0, :].floor().clamp(max=side - 2).long()
    (y, x), (low_y, low_x) = (inside[..., 0, :] - low).unbind(-1), low.unbind(-1)
    share = torch.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x], -1)
    row = torch.cat([torch.stack([low_y, low_y, low_y + 1, low_y + 1], -1), nearest[..., 0]], -1)
    column = torch.cat([torch.stack([low_x, low_x + 1, low_x, low_x + 1], -1), nearest[..., 1]], -1)
    owners = torch.cat([regions[..., :1].expand_as(share), regions[..., 1:]], -1)
    return (owners * side + row) * side + column, torch.cat([weights[..., :1] * share, weights[..., 1:]], -1)


def _features(own: Tensor, scene: PixelScene, colours: Tensor) -> tuple[Tensor, Tensor]:
    """``[B, h, w, F]``: rows of its region's linear map, and how a pixel's and its surroundings' colour differ from the region's."""
    channels, count = scene.means.shape[1] - 2, colours.shape[-1]
    means = F.embedding(own, scene.means[:, 2:]).repeat(1, 1, 1, scene.centred // channels)
    features = colours - F.pad(means, (0, count - scene.centred))
    return len(scene.means) * scene.side**2 + own[..., None] * count + _count(count, own), features


def _count(length: int, like: Tensor) -> Tensor:
    """0, 1, ... int64 on the device of ``like``."""
    return torch.arange(length, device=like.device)
