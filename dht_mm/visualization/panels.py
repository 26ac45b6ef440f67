"""Pictures side by side, with captions."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dht_mm.vector.checks import check_image

MARGIN = 6  # pixels around every picture and caption
CAPTION_SIZE = 14  # pixels
BACKGROUND = (255, 255, 255)
INK = (32, 32, 32)


def upscale(array: np.ndarray, factor: int) -> np.ndarray:
    """Enlarge by an integer factor without inventing pixels (nearest neighbour).

    Args:
        array: An image ``[H, W, 3]`` or a label map ``[H, W]``.
        factor: How many times larger, at least 1.

    Returns:
        ``[H * factor, W * factor, ...]``.

    Raises:
        ValueError: ``factor`` is not a positive integer, or ``array`` has fewer than two dimensions.
    """
    if not isinstance(factor, int) or factor < 1:
        raise ValueError(f'factor must be a positive integer, got {factor!r}')
    array = np.asarray(array)
    if array.ndim < 2:
        raise ValueError(f'array must be an image or a label map, got shape {array.shape}')
    return np.repeat(np.repeat(array, factor, axis=0), factor, axis=1)


def panel_strip(pictures: Mapping[str, np.ndarray], min_height: int = 0) -> np.ndarray:
    """Pictures in a row from left to right, each with its name above it.

    Args:
        pictures: Caption to picture ``[H, W, 3]`` uint8, in order; an empty caption is left blank.
        min_height: Smaller pictures are enlarged by the smallest integer factor that reaches this height in pixels.

    Returns:
        ``[H', W', 3]`` uint8 on white; the pictures stand on the same upper edge, unblurred.

    Raises:
        TypeError: A picture is not a uint8 numpy array.
        ValueError: There is no picture, or one is not ``[H, W, 3]``.
    """
    if not pictures:
        raise ValueError('pictures must hold at least one picture, got none')
    font = ImageFont.load_default(CAPTION_SIZE)
    panels = [upscale(check_image(picture), max(1, -(-min_height // picture.shape[0]))) for picture in pictures.values()]
    boxes = [font.getbbox(caption) for caption in pictures]  # left, top, right, bottom
    header = 2 * MARGIN + max(int(np.ceil(bottom)) for *_, bottom in boxes)
    widths = [max(panel.shape[1], int(np.ceil(right))) for panel, (_, _, right, _) in zip(panels, boxes, strict=True)]
    lefts = np.cumsum([MARGIN, *(width + MARGIN for width in widths)]).tolist()
    strip = Image.new('RGB', (lefts[-1], header + max(len(panel) for panel in panels) + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for left, caption, panel in zip(lefts, pictures, panels, strict=False):
        draw.text((left, MARGIN), caption, fill=INK, font=font)
        strip.paste(Image.fromarray(panel), (left, header))
    return np.array(strip)


def panel_grid(pictures: Mapping[str, np.ndarray], columns: int) -> np.ndarray:
    """Pictures in rows of so many, each with its name above it; see :func:`panel_strip`.

    Args:
        pictures: Caption to picture ``[H, W, 3]`` uint8, in order.
        columns: Pictures of a row, at least 1.

    Raises:
        TypeError: A picture is not a uint8 numpy array.
        ValueError: ``columns`` is not a positive integer, there is no picture, or one is not ``[H, W, 3]``.
    """
    if not isinstance(columns, int) or columns < 1:
        raise ValueError(f'columns must be a positive integer, got {columns!r}')
    items = list(pictures.items())
    return stack_strips([panel_strip(dict(items[start:start + columns])) for start in range(0, len(items), columns)])


def stack_strips(strips: Sequence[np.ndarray]) -> np.ndarray:
    """Strips below one another; narrower ones are filled up with white on the right.

    Args:
        strips: Pictures ``[H_i, W_i, 3]`` uint8.

    Returns:
        ``[sum of H_i, max of W_i, 3]`` uint8.

    Raises:
        TypeError: A strip is not a uint8 numpy array.
        ValueError: There is no strip, or one is not ``[H, W, 3]``.
    """
    if not len(strips):
        raise ValueError('strips must hold at least one picture, got none')
    width = max(check_image(strip).shape[1] for strip in strips)
    padded = [np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    return np.concatenate(padded)
