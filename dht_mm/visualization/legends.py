"""What the colours of a picture mean, written below it."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dht_mm.vector.checks import check_image

from .panels import BACKGROUND, CAPTION_SIZE, INK, MARGIN
from .values import value_colors

BAR = 10  # height of a colour bar, and side of a legend's squares, in pixels


def with_color_bar(picture: np.ndarray, low: float, high: float, above: bool = False) -> np.ndarray:
    """A picture of :func:`paint_values` with its scale of colours below it, the numbers at both ends.

    Args:
        picture: ``[H, W, 3]`` uint8.
        low: Number of the darkest colour.
        high: Number of the lightest.
        above: Whether larger numbers share its colour, which then is written there.

    Returns:
        ``[H', W', 3]`` uint8, the picture at the upper left; wider where the numbers need it.

    Raises:
        TypeError: ``picture`` is not a uint8 numpy array.
        ValueError: ``picture`` is not ``[H, W, 3]``, or see :func:`value_colors`.
    """
    ends, font = [f'{low:.4g}', f'{high:.4g}{" or more" * above}'], _font()
    lengths = [int(np.ceil(font.getlength(end))) for end in ends]
    width = max(check_image(picture).shape[1], sum(lengths) + MARGIN)
    canvas, draw = _below(picture, width, BAR + MARGIN + _line_height(font))
    top = len(picture) + MARGIN
    bar = value_colors(np.linspace(low, high, width), low, high)
    canvas.paste(Image.fromarray(np.repeat(bar[None], BAR, axis=0)), (0, top))
    for text, left in zip(ends, (0, width - lengths[1]), strict=True):
        draw.text((left, top + BAR + MARGIN // 2), text, fill=INK, font=font)
    return np.array(canvas)


def with_legend(picture: np.ndarray, names: Mapping[str, Sequence[int]]) -> np.ndarray:
    """A picture with a line below it for each colour: a square of it and its name.

    Args:
        picture: ``[H, W, 3]`` uint8.
        names: Name to RGB colour, in order.

    Returns:
        ``[H', W', 3]`` uint8, the picture at the upper left; wider where a name needs it.

    Raises:
        TypeError: ``picture`` is not a uint8 numpy array.
        ValueError: ``picture`` is not ``[H, W, 3]``.
    """
    font = _font()
    line = _line_height(font)
    width = max(check_image(picture).shape[1], *(BAR + MARGIN + int(np.ceil(font.getlength(name))) for name in names))
    canvas, draw = _below(picture, width, line * len(names))
    for index, (name, color) in enumerate(names.items()):
        top = len(picture) + MARGIN + index * line
        middle = top + (line - BAR) // 2
        draw.rectangle((0, middle, BAR - 1, middle + BAR - 1), fill=tuple(int(channel) for channel in color))
        draw.text((BAR + MARGIN, top + line // 2), name, fill=INK, font=font, anchor='lm')
    return np.array(canvas)


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(CAPTION_SIZE)


def _line_height(font: ImageFont.FreeTypeFont) -> int:
    return sum(font.getmetrics()) + 1


def _below(picture: np.ndarray, width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """The picture on a white canvas with room below it, and something to draw there with."""
    canvas = Image.new('RGB', (width, len(picture) + MARGIN + height), BACKGROUND)
    canvas.paste(Image.fromarray(picture), (0, 0))
    return canvas, ImageDraw.Draw(canvas)
