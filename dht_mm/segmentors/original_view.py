"""From the padded, flipped, resized input of a model back to the image as it was loaded."""

import torch.nn.functional as F
from torch import Tensor


def original_view(maps: Tensor, meta: dict) -> Tensor:
    """Undo what the pipeline did to an image on a map of it, without mixing the values of pixels.

    Args:
        maps: ``[C, H, W]`` float, a map at the size of the model's input.
        meta: The image's meta information in mmsegmentation's keys: ``img_padding_size`` or ``padding_size`` (left, right, top,
            bottom), ``flip`` and ``flip_direction``, ``ori_shape``; a missing key means that nothing was done.

    Returns:
        ``[C, *ori_shape]``: every pixel has the value of the nearest pixel of the input.

    Raises:
        ValueError: ``flip_direction`` is unknown.
    """
    left, right, top, bottom = meta.get('img_padding_size', meta.get('padding_size', [0] * 4))
    height, width = maps.shape[1:]
    maps = maps[:, top:height - bottom, left:width - right]
    if meta.get('flip'):
        axes = dict(horizontal=2, vertical=1)
        if meta.get('flip_direction') not in axes:
            raise ValueError(f'flip_direction must be one of {[*axes]}, got {meta.get("flip_direction")!r}')
        maps = maps.flip(axes[meta['flip_direction']])
    shape = tuple(meta.get('ori_shape', maps.shape[1:])[:2])
    return maps if tuple(maps.shape[1:]) == shape else F.interpolate(maps[None], shape, mode='nearest-exact')[0]
