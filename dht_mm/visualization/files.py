"""Images from and to disk."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from dht_mm.vector.checks import check_image
from dht_mm.vector.files import atomic_file

SIXTEEN_BIT_MAX = 65535


def read_image(path: str | Path | BinaryIO) -> np.ndarray:
    """Read an image as a viewer shows it.

    The orientation stored by cameras is applied, transparent pixels lie on white, grey and palette images become RGB, 16-bit grey
    levels are scaled to 8 bits. Of an animation the first frame is read.

    Args:
        path: A file in any format that Pillow reads, or one open for reading.

    Returns:
        ``[H, W, 3]`` uint8 RGB.

    Raises:
        FileNotFoundError: There is no file at ``path``.
        ValueError: The file is not a readable image, or its grey levels have no defined white (float or more than 16 bits).
    """
    if isinstance(path, (str, Path)) and not Path(path).exists():
        raise FileNotFoundError(f'path must be an image file, but {path} does not exist')
    try:
        with Image.open(path) as file:
            return np.array(_to_rgb(ImageOps.exif_transpose(file)))
    # Decoders of damaged files raise whatever their parser stumbles over, and Pillow names no common base class.
    except Exception as error:
        raise ValueError(f'path must be a readable image, but {path} is not: {error}') from error


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB on white of a Pillow image in any mode."""
    if image.mode == 'F' or image.mode.startswith('I'):
        return Image.fromarray(_sixteen_to_eight_bits(np.asarray(image))).convert('RGB')
    if image.has_transparency_data:
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    return image.convert('RGB')


def _sixteen_to_eight_bits(levels: np.ndarray) -> np.ndarray:
    if levels.dtype.kind == 'f' or levels.min() < 0 or levels.max() > SIXTEEN_BIT_MAX:
        raise ValueError(f'{levels.dtype} grey levels from {levels.min()} to {levels.max()} have no defined white')
    return np.rint(levels * (255 / SIXTEEN_BIT_MAX)).astype(np.uint8)


def save_png(path: str | Path, image: np.ndarray) -> None:
    """Write a PNG file that is there whole or not at all.

    Args:
        path: The file to write or replace; its folder must exist.
        image: ``[H, W, 3]`` uint8 RGB.

    Raises:
        FileNotFoundError: The folder does not exist.
        TypeError: ``image`` is not a uint8 numpy array.
        ValueError: ``image`` is not ``[H, W, 3]``.
    """
    check_image(image)
    with atomic_file(path) as file:
        Image.fromarray(image).save(file, format='PNG', optimize=True)
