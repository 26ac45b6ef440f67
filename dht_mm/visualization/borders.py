"""Region borders drawn over an image as lines one pixel wide."""

import numpy as np
from PIL import Image, ImageFilter

from dht_mm.vector.checks import Regions, check_image, label_map

# Half the side of the square whose mean brightness decides between a black and a white line. A single pixel would make the line
# flicker on texture; a larger square would miss a dark object on a light ground.
BRIGHTNESS_RADIUS = 3


def border_mask(regions: Regions) -> np.ndarray:
    """Pixels whose right or lower neighbour lies in another region.

    Only one of the two pixels at a border is marked, so a border is one pixel wide.

    Args:
        regions: A partition of one image or a label map ``[H, W]``.

    Returns:
        ``[H, W]`` bool.
    """
    labels = label_map(regions)
    mask = np.zeros(labels.shape, dtype=bool)
    mask[:-1] |= labels[:-1] != labels[1:]
    mask[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return mask


def draw_borders(image: np.ndarray, regions: Regions, color: tuple[int, int, int] | None = None) -> np.ndarray:
    """The image with the borders of its regions drawn over it.

    To see every pixel of a small image, enlarge both first: ``draw_borders(upscale(image, 4), upscale(labels, 4))``.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        regions: A partition of one image or a label map ``[H, W]``.
        color: RGB of the lines. None draws black where the image is light and white where it is dark.

    Returns:
        ``[H, W, 3]`` uint8, a new array: equal to ``image`` except at the pixels of ``border_mask``.

    Raises:
        TypeError: ``image`` or ``regions`` is of another type.
        ValueError: ``regions`` has another size than ``image``, or ``color`` is not three numbers from 0 to 255.
    """
    labels = label_map(regions, check_image(image).shape[:2])
    if color is not None and (len(color) != 3 or not all(0 <= channel <= 255 for channel in color)):
        raise ValueError(f'color must be three numbers from 0 to 255, got {color}')
    line = _contrast(image) if color is None else np.asarray(color, dtype=np.uint8)
    return np.where(border_mask(labels)[..., None], line, image)


def _contrast(image: np.ndarray) -> np.ndarray:
    """``[H, W, 1]`` uint8: 0 where the surroundings are light, 255 where they are dark."""
    brightness = np.asarray(Image.fromarray(image).convert('L').filter(ImageFilter.BoxBlur(BRIGHTNESS_RADIUS)))
    return np.where(brightness >= 128, 0, 255).astype(np.uint8)[..., None]
