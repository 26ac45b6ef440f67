"""Folders of images, and of images with segmentations as BSDS500 and mmsegmentation lay them out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

IMAGES = ('.jpg', '.jpeg', '.png')
VOID = 255  # of annotations; segmentations of BSDS500 have no open pixels


class AnnotatedImage(NamedTuple):
    """An image file, and that of its annotation: .npz of BSDS500, .png of classes, or None."""

    image: Path
    annotation: Path | None

    @property
    def ignore_index(self) -> int | None:
        """Label of pixels that the annotation leaves open."""
        return VOID if self.has_classes else None

    @property
    def has_classes(self) -> bool:
        """Whether labels of the annotation mean the same in all images."""
        return self.annotation is not None and self.annotation.suffix == '.png'

    def read_truths(self) -> Sequence[np.ndarray] | None:
        """The segmentations, each ``[H, W]`` integer; None without an annotation.

        Raises:
            ValueError: The annotation cannot be read.
        """
        if self.annotation is None:
            return None
        try:
            if self.has_classes:
                return [np.array(Image.open(self.annotation))]
            with np.load(self.annotation) as arrays:
                return list(arrays['segmentations'].astype(np.int64))
        # Damaged files raise whatever their parser stumbles over.
        except Exception as error:
            raise ValueError(f'{self.annotation} must be an annotation, but cannot be read: {error}') from error


def list_images(paths: Sequence[Path]) -> list[Path]:
    """The files named, and in place of a folder the images in it, in the order of their names.

    Raises:
        ValueError: A folder has no image.
    """
    found = []
    for path in paths:
        files = sorted(file for file in path.glob('*') if file.suffix.lower() in IMAGES) if path.is_dir() else [path]
        if not files:
            raise ValueError(f'a folder of images must hold {", ".join(IMAGES)} files, but {path} has none')
        found += files
    return found


def find_images(data: Path, split: str, most: int | None = None) -> list[AnnotatedImage]:
    """The images of ``data/images/SPLIT``, in the order of their names.

    Annotations are ``data/groundTruth/SPLIT/NAME.npz`` with ``segmentations`` ``[A, H, W]`` or ``data/annotations/SPLIT/NAME.png``.

    Args:
        data: Folder of the data set.
        split: ``train``, ``val``, ...
        most: Take every n-th of them, with the least n that gives at most so many; all if None.

    Raises:
        ValueError: There is no image.
    """
    folder = data / 'images' / split
    files = sorted(file for file in folder.glob('*') if file.suffix.lower() in IMAGES)
    if not files:
        raise ValueError(f'data must hold images/{split} with {", ".join(IMAGES)} files, but {folder} has none')
    return [AnnotatedImage(file, _annotation(data, split, file.stem)) for file in files[::1 if most is None else -(-len(files) // most)]]


def _annotation(data: Path, split: str, name: str) -> Path | None:
    candidates = (data / 'groundTruth' / split / f'{name}.npz', data / 'annotations' / split / f'{name}.png')
    return next((file for file in candidates if file.is_file()), None)
