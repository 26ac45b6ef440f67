"""Folders of images with masks of their salient object, as ECSSD, DUTS and DUT-OMRON lay them out."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from annotated_images import IMAGES
from PIL import Image

# Folders of images and of masks in that of the data set.
LAYOUTS = {
    'ECSSD': ('images', 'ground_truth_mask'),
    'DUTS-TE': ('DUTS-TE-Image', 'DUTS-TE-Mask'),
    'DUTS-TR': ('DUTS-TR-Image', 'DUTS-TR-Mask'),
    'DUT-OMRON': ('DUT-OMRON-image', 'pixelwiseGT-new-PNG'),
}


class SalientImage(NamedTuple):
    """An image file, and that of its mask or None."""

    image: Path
    mask: Path | None

    def read_mask(self, shape: tuple[int, int]) -> np.ndarray | None:
        """``[H, W]`` bool, the pixels of at least half of white; None without a mask.

        Raises:
            ValueError: The mask cannot be read, or is not of ``shape``.
        """
        if self.mask is None:
            return None
        try:
            with Image.open(self.mask) as file:
                values = np.asarray(file.convert('L'))
        # Decoders of damaged files raise whatever their parser stumbles over.
        except Exception as error:
            raise ValueError(f'{self.mask} must be a mask, but cannot be read: {error}') from error
        if values.shape != shape:
            raise ValueError(f'{self.mask} must have the size of its image, {shape}, got {values.shape}')
        return values >= 128


def find_salient_images(data: Path, most: int | None = None) -> list[SalientImage]:
    """The images of a data set in one of ``LAYOUTS``, or else those that lie in ``data`` itself, in the order of their names.

    Args:
        data: Folder of the data set, or of images without masks.
        most: Take every n-th of them, with the least n that gives at most so many; all if None.

    Raises:
        ValueError: There is no image, or an image of a data set has no mask.
    """
    folders = next((pair for pair in LAYOUTS.values() if all((data / folder).is_dir() for folder in pair)), None)
    images = data / folders[0] if folders else data
    files = sorted(file for file in images.glob('*') if file.suffix.lower() in IMAGES)
    if not files:
        raise ValueError(f'data must hold images, or {", ".join(" and ".join(pair) for pair in LAYOUTS.values())}, but {data} does not')
    found = [SalientImage(file, data / folders[1] / f'{file.stem}.png' if folders else None) for file in files]
    if lacking := [sample.mask for sample in found if sample.mask is not None and not sample.mask.is_file()]:
        raise ValueError(f'{lacking[0]} and {len(lacking) - 1} more masks do not exist')
    return found[::1 if most is None else -(-len(found) // most)]
