"""Batches of photographs for what is timed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


def load_batch(folder: Path, batch: int, device: str, cut: Callable[[Image.Image, np.random.Generator], Image.Image]) -> Tensor:
    """``[B, 3, H, W]`` normalised: the folder's photographs in turn, each time cut elsewhere and mirrored by turns.

    Args:
        folder: Of .jpg and .png files.
        batch: Images.
        device: Where they go.
        cut: A photograph and random numbers to a part of it, always of the same size.

    Raises:
        SystemExit: The folder has no photographs.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ('.jpg', '.jpeg', '.png'))
    if not files:
        raise SystemExit(f'--images must be a folder of .jpg or .png files, but {folder} has none')
    random, images = np.random.default_rng(0), []
    for index in range(batch):
        part = cut(Image.open(files[index % len(files)]).convert('RGB'), random)
        images.append(np.asarray(ImageOps.mirror(part) if index // len(files) % 2 else part))
    pixels = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD))
    return ((pixels - mean) / std).contiguous()
