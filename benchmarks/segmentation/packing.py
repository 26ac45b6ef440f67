"""Data sets and weights in few bytes, for machines that are reached over a narrow link."""

import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

WEBP_QUALITY = 88  # about 41 dB from CamVid's images, which are JPEGs themselves
IGNORED = 255


def encode(pixels: np.ndarray, **options: object) -> np.ndarray:
    """An image as the bytes of a file, uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def decode(data: np.ndarray) -> np.ndarray:
    """Undo :func:`encode`."""
    return np.asarray(Image.open(io.BytesIO(data.tobytes())))


def _joined(name: str, files: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f'{name}_bytes': np.concatenate(files), f'{name}_ends': np.cumsum([len(data) for data in files])}


def _parted(name: str, archive: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return np.split(archive[f'{name}_bytes'], archive[f'{name}_ends'][:-1])


def pack_images(path: Path, splits: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> None:
    """Write images ``[H, W, 3]`` and label maps ``[H, W]``, both uint8, of several splits: images as WebP, label maps as PNG."""
    arrays = {}
    for split, pairs in splits.items():
        arrays |= _joined(f'{split}_image', [encode(image, format='WEBP', quality=WEBP_QUALITY, method=6) for image, _ in pairs])
        arrays |= _joined(f'{split}_label', [encode(labels, format='PNG', optimize=True) for _, labels in pairs])
    np.savez(path, **arrays)


def load_images(path: Path, split: str, device: str) -> tuple[Tensor, Tensor]:
    """All images of a split.

    Args:
        path: A file of :func:`pack_images`.
        split: Name of the split.
        device: Where to put them.

    Returns:
        ``[N, 3, H, W]`` and ``[N, H, W]``, uint8.
    """
    with np.load(path) as archive, ThreadPoolExecutor() as pool:
        images, labels = (np.stack(list(pool.map(decode, _parted(f'{split}_{kind}', archive)))) for kind in ('image', 'label'))
    return torch.from_numpy(images).to(device).movedim(-1, 1).contiguous(), torch.from_numpy(labels).to(device)


def pack_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write weights: matrices in bfloat16, which autocast would round them to, all else in float16.

    High and low bytes are kept apart, since exponents, in the high ones, compress and mantissas don't.
    """
    arrays = {}
    for name, value in weights.items():
        dtype = torch.bfloat16 if value.dim() == 2 else torch.float16
        raw = value.to(dtype).contiguous().view(torch.uint8).numpy().reshape(-1, 2)
        arrays |= {f'{name}/high': raw[:, 1], f'{name}/low': raw[:, 0], f'{name}/shape': np.array(value.shape)}
    np.savez_compressed(path, **arrays)


def load_weights(path: Path) -> dict[str, Tensor]:
    """The float32 weights of :func:`pack_weights`."""
    weights = {}
    with np.load(path) as archive:
        for name in [key.removesuffix('/shape') for key in archive if key.endswith('/shape')]:
            shape = archive[f'{name}/shape'].tolist()
            raw = torch.from_numpy(np.stack([archive[f'{name}/low'], archive[f'{name}/high']], 1))
            weights[name] = raw.view(torch.bfloat16 if len(shape) == 2 else torch.float16).view(shape).float()
    return weights
