"""How much of an image's colours is left when each region has one."""

import math

import torch
from torch import Tensor

from .label_maps import LabelMap, Picture, label_map, picture

PEAK = 255  # of uint8


def explained_variation(labels: LabelMap, image: Picture) -> float:
    """Share of the pixels' variance that the mean colours of the regions have (Moore et al., Superpixel lattices, 2008).

    ``sum over regions S of |S| * |mean(S) - mean(image)|^2 / sum over pixels x of |x - mean(image)|^2``

    Args:
        labels: ``[H, W]`` integer, region of each pixel.
        image: ``[H, W, C]`` uint8.

    Returns:
        A number in [0, 1]; 1 for an image of one colour.

    Raises:
        TypeError: ``labels`` is not of integers or ``image`` not of uint8.
        ValueError: Labels are negative or empty, or the sizes differ.
    """
    labels = label_map(labels)
    pixels = picture(image, labels).flatten(0, 1).double()
    mean, size = _region_means(labels, pixels)
    center = pixels.mean(0)
    total = (pixels - center).square().sum()
    return ((size[:, None] * (mean - center).square()).sum() / total).item() if total > 0 else 1.0


def reconstruct(labels: LabelMap, image: Picture) -> Tensor:
    """``[H, W, C]`` float64: each region in the mean colour of its pixels, not rounded. Args are those of :func:`explained_variation`."""
    labels = label_map(labels)
    pixels = picture(image, labels).flatten(0, 1).double()
    return _region_means(labels, pixels)[0][labels]


def reconstruction_psnr(labels: LabelMap, image: Picture) -> float:
    """:func:`psnr` in dB of the image against :func:`reconstruct`. Args are those of :func:`explained_variation`."""
    return psnr(image, reconstruct(labels, image))


def psnr(image: Picture, other: Picture) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels, ``10 log10(255^2 / mean squared error)``; infinite if equal.

    Args:
        image: ``[H, W, C]`` uint8.
        other: ``[H, W, C]`` of levels from 0 to 255, of any type.

    Raises:
        TypeError: ``image`` is not of uint8.
        ValueError: ``image`` is not a picture, or ``other`` has another shape.
    """
    image = picture(image)
    other = torch.as_tensor(other, device=image.device)
    if other.shape != image.shape:
        raise ValueError(f'other must have the shape of image, {tuple(image.shape)}, got {tuple(other.shape)}')
    error = (image.double() - other.double()).square().mean().item()
    return 10 * math.log10(PEAK**2 / error) if error else math.inf


def _region_means(labels: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """``[R, C]`` means of float64 rows ``[N, C]`` and ``[R]`` pixels of each label; a label without pixels has mean 0."""
    size = torch.bincount(labels.flatten())
    total = pixels.new_zeros(len(size), pixels.shape[1]).index_add(0, labels.flatten(), pixels)
    return total / size.clamp(min=1)[:, None], size
