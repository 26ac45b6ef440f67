"""Random crops, flips and colours of a whole batch at once, on the device that it lies on."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """``[B, 3, H, W]`` in [0, 1] to about unit variance."""
    mean, std = _statistics(images.device)
    return (images - mean) / std


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Made once: copying numbers to a GPU waits for it."""
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD))
    return mean, std


def augment(images: Tensor, labels: Tensor | None, area: tuple[float, float], ratio: tuple[float, float],
            colour: float) -> tuple[Tensor, Tensor | None]:
    """Crop each image and stretch the crop to the full size, mirror half of them, jitter colours.

    Args:
        images: ``[B, 3, H, W]`` uint8.
        labels: ``[B, H, W]`` uint8, or None.
        area: Bounds of the crops' share of the area.
        ratio: Bounds of the crops' aspect ratio, where the images' own is 1.
        colour: Brightness, contrast and saturation are each scaled by up to ``1 ± colour``.

    Returns:
        Images, normalised float, and labels, int64.
    """
    grid = F.affine_grid(_crops(len(images), area, ratio, images.device), [len(images), 1, *images.shape[2:]], align_corners=False)
    pixels = F.grid_sample(images.float() / 255, grid, mode='bilinear', padding_mode='border', align_corners=False)
    if labels is not None:
        labels = F.grid_sample(labels.float()[:, None], grid, mode='nearest', padding_mode='border', align_corners=False)[:, 0].long()
    return normalise(jitter(pixels, colour)), labels


def _crops(batch: int, area: tuple[float, float], ratio: tuple[float, float], device: torch.device) -> Tensor:
    """``[B, 2, 3]``: affine maps from the full frame to random crops within it."""
    areas, ratios = (torch.empty(batch, device=device).uniform_(*bounds) for bounds in (area, ratio))
    sides = torch.stack([(areas * ratios).sqrt(), (areas / ratios).sqrt()], 1).clamp(max=1)  # shares of width and height
    shift = (1 - sides) * (2 * torch.rand(batch, 2, device=device) - 1)
    mirror = torch.where(torch.rand(batch, device=device) < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(mirror)
    return torch.stack([torch.stack([sides[:, 0] * mirror, zero, shift[:, 0]], 1), torch.stack([zero, sides[:, 1], shift[:, 1]], 1)], 1)


def jitter(pixels: Tensor, strength: float) -> Tensor:
    """Scale brightness, contrast and saturation of ``[B, 3, H, W]`` in [0, 1] by random factors, each image's own."""
    if not strength:
        return pixels
    brightness, contrast, saturation = torch.empty(3, len(pixels), 1, 1, 1, device=pixels.device).uniform_(1 - strength, 1 + strength)
    pixels = pixels * brightness
    grey = pixels.mean(1, keepdim=True)
    pixels = torch.lerp(grey, pixels, saturation)
    return torch.lerp(grey.mean((2, 3), keepdim=True), pixels, contrast).clamp(0, 1)
