"""Logits of pixels as weighted sums of rows of a table, and their gradient, in plain tensor operations."""

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
        steps: ``[B, T, 2]`` int32, y and x from a pixel to the places whose regions are mixed, in pixels; the first is (0, 0).
        centred: Of the planes that describe a pixel, how many of the first are taken relative to the region's mean colour, channel after
            channel.
        side: Squares along a side of a box.
    """

    labels: Tensor
    offsets: Tensor
    means: Tensor
    size: Tensor
    boxes: Tensor
    steps: Tensor
    centred: int
    side: int


class _Taps(NamedTuple):
    """What pixels read. ``T`` regions are mixed, and ``S`` squares read: four of the own region and one of each other, or one of each.

    Attributes:
        squares: ``[B, h, w, S]`` int64, rows of the table.
        shares: ``[B, h, w, S]``, their shares of their region's weight.
        mixed: ``[S]`` int64, which of the T regions they are of.
        weights: ``[B, h, w, T]``, of sum 1.
        away: ``[B, h, w, T, 3]``, what the kernel's factors multiply: distance, difference in colour and whether it is the own region.
        features: ``[B, h, w, F]`` int64, rows of the table, and
        values: ``[B, h, w, F]``, their weights.
    """

    squares: Tensor
    shares: Tensor
    mixed: Tensor
    weights: Tensor
    away: Tensor
    features: Tensor
    values: Tensor


def decode_pixels(table: Tensor, kernel: Tensor | None, scene: PixelScene, colours: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``[B, h, w, K]``, see :func:`dht_mm.ops.decode_pixels`."""
    taps = _taps(table, kernel, scene, colours, rows, columns)
    read = torch.cat([taps.squares, taps.features], -1).flatten(0, 2)
    weights = torch.cat([taps.shares * taps.weights[..., taps.mixed], taps.values], -1).flatten(0, 2)
    return F.embedding_bag(read, table, mode='sum', per_sample_weights=weights.to(table.dtype)).unflatten(0, taps.weights.shape[:3])


def decode_pixels_backward(grad: Tensor, table: Tensor, kernel: Tensor | None, scene: PixelScene, colours: Tensor, rows: Tensor,
                           columns: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of ``table`` and of ``kernel``, ``[3]``, one tap of all pixels after the other."""
    taps = _taps(table, kernel, scene, colours, rows, columns)
    to_table, along = torch.zeros_like(table), torch.zeros_like(taps.weights, dtype=table.dtype)
    for square, mixed in enumerate(taps.mixed.tolist()):
        share, read = taps.shares[..., square, None].to(table.dtype), taps.squares[..., square]
        to_table.index_add_(0, read.flatten(), (share * taps.weights[..., mixed, None] * grad).flatten(0, 2))
        along[..., mixed] += share[..., 0] * (F.embedding(read, table) * grad).sum(-1)
    for feature in range(taps.features.shape[-1]):
        value = taps.values[..., feature, None].to(table.dtype)
        to_table.index_add_(0, taps.features[..., feature].flatten(), (value * grad).flatten(0, 2))
    slope = taps.weights * (along - (taps.weights * along).sum(-1, keepdim=True))
    distance, colour, bonus = (slope[..., None] * taps.away.to(table.dtype)).sum((0, 1, 2, 3)).unbind()
    return to_table, torch.stack([-distance, -colour, bonus])


def _taps(table: Tensor, kernel: Tensor | None, scene: PixelScene, colours: Tensor, rows: Tensor, columns: Tensor) -> _Taps:
    pixel, colours = torch.stack(torch.meshgrid(rows, columns, indexing='ij'), -1), colours.movedim(1, -1)
    regions = _regions(scene, pixel)
    away = _away(regions, scene, pixel, colours)
    if kernel is None:
        weights = torch.ones_like(away[..., 0])
    else:
        away = away.to(kernel.dtype)
        weights = (kernel[2] * away[..., 2] - kernel[0] * away[..., 0] - kernel[1] * away[..., 1]).softmax(-1)
    features = regions[..., :0], colours[..., :0]
    if len(table) > len(scene.size) * scene.side**2:
        features = _features(regions[..., 0], scene, colours)
    return _Taps(*_squares(regions, scene, pixel), weights, away, *features)


def _regions(scene: PixelScene, pixel: Tensor) -> Tensor:
    """``[B, h, w, T]``: the regions of a pixel and of the points around it, beyond the border those at the border."""
    labels = scene.labels.long() + scene.offsets[:-1].long()[:, None, None]
    image = _count(len(labels), pixel)[:, None, None, None]
    places = (axis[:, :, None, None] + pixel[..., index] for index, axis in enumerate(scene.steps.long().unbind(-1)))
    y, x = (place.clamp(0, length - 1) for place, length in zip(places, labels.shape[1:], strict=True))
    return labels[image, y, x].movedim(1, -1)


def _away(regions: Tensor, scene: PixelScene, pixel: Tensor, colours: Tensor) -> Tensor:
    """``[B, h, w, T, 3]``: squared distances in place, where a region's size is 1, and in colour; 1 for the own region, 0 for others."""
    own = colours[..., :scene.means.shape[1] - 2]
    place = torch.cat([pixel.expand(*own.shape[:3], 2), own], -1)
    away = (F.embedding(regions, scene.means) - place[:, :, :, None]).square()
    itself = (regions == regions[..., :1]).to(away.dtype)
    return torch.stack([away[..., :2].sum(-1) / scene.size[regions], away[..., 2:].sum(-1), itself], -1)


def _squares(regions: Tensor, scene: PixelScene, pixel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``[B, h, w, S]``, ``[B, h, w, S]`` and ``[S]``: squares that a pixel reads, their shares, and which mixed region's they are."""
    side, mixed = scene.side, torch.arange(regions.shape[-1], device=regions.device)
    if side == 1:
        return regions, torch.ones_like(regions, dtype=torch.float32), mixed
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
    shares = torch.cat([share, torch.ones_like(nearest[..., 0], dtype=share.dtype)], -1)
    return (owners * side + row) * side + column, shares, torch.cat([mixed[:1].expand(4), mixed[1:]])


def _features(own: Tensor, scene: PixelScene, colours: Tensor) -> tuple[Tensor, Tensor]:
    """``[B, h, w, F]``: rows of its region's linear map, and how a pixel's and its surroundings' colour differ from the region's."""
    channels, count = scene.means.shape[1] - 2, colours.shape[-1]
    means = F.embedding(own, scene.means[:, 2:]).repeat(1, 1, 1, scene.centred // channels)
    features = colours - F.pad(means, (0, count - scene.centred))
    return len(scene.means) * scene.side**2 + own[..., None] * count + _count(count, own), features


def _count(length: int, like: Tensor) -> Tensor:
    """0, 1, ... int64 on the device of ``like``."""
    return torch.arange(length, device=like.device)
