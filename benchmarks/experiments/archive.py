"""Images of a zip archive."""

import io
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def read_images(path: Path, wanted: Callable[[str], bool]) -> tuple[list[str], Tensor | None]:
    """Some files of an archive, all of one size, in the order of their names.

    Args:
        path: The archive.
        wanted: Whether a file of this name is one of them.

    Returns:
        Their names and ``[N, 3, H, W]`` uint8, None where there are none.
    """
    def decode(data: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
    with zipfile.ZipFile(path) as files, ThreadPoolExecutor() as pool:
        names = sorted(filter(wanted, files.namelist()))
        images = list(pool.map(decode, map(files.read, names)))
    return names, torch.from_numpy(np.stack(images)).movedim(-1, 1) if images else None
