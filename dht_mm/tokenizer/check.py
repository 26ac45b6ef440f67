"""One place that refuses images which no tokenizer can work on."""

import torch
from torch import Tensor


def check_images(images: Tensor, in_channels: int | None = None) -> None:
    """Raise where a batch of images is not a finite, non-empty float ``[B, C, H, W]``.

    Args:
        images: The batch.
        in_channels: Channels that it must have; ``None`` accepts any.

    Raises:
        TypeError: Not a floating-point tensor.
        ValueError: Wrong shape, nothing in it, or a value that is not finite.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f'images must be a torch.Tensor, got {type(images).__name__}')
    if not images.is_floating_point():
        raise TypeError(f'images must be floating point (normalise them first), got {images.dtype}')
    if images.dim() != 4:
        raise ValueError(f'images must be [B, C, H, W], got shape {tuple(images.shape)}')
    if images.numel() == 0:
        raise ValueError(f'images must hold at least one pixel of one image, got shape {tuple(images.shape)}')
    if in_channels is not None and images.shape[1] != in_channels:
        raise ValueError(f'images must have in_channels = {in_channels} channels, got {images.shape[1]} in shape {tuple(images.shape)}')
    # On a GPU this would wait for the device, and a compiled graph cannot branch on values. There the hierarchy op looks, and tells with
    # the one read-back that it makes.
    if images.is_cuda or torch.compiler.is_compiling():
        return
    if not torch.isfinite(images).all():
        raise ValueError(f'images must be finite, got {int((~torch.isfinite(images)).sum())} NaN or infinite values')
