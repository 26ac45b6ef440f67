"""What functions that draw accept: one image, and one partition or label map of its size."""

from typing import Any, Protocol

import numpy as np

from dht_mm.structures import Partition


class TensorLike(Protocol):
    """A tensor, of which only methods are used: this room does not import torch."""

    def detach(self) -> Any:
        """The same without gradient."""


Regions = Partition | np.ndarray | TensorLike


def check_image(image: np.ndarray) -> np.ndarray:
    """The picture itself, if it is a non-empty uint8 RGB array ``[H, W, 3]``.

    Raises:
        TypeError: ``image`` is not a numpy array of uint8.
        ValueError: ``image`` is not ``[H, W, 3]`` or has no pixel.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise TypeError(f'image must be a uint8 numpy array, got {getattr(image, "dtype", type(image).__name__)}')
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f'image must be a non-empty RGB picture [H, W, 3], got shape {image.shape}')
    return image


def label_map(regions: Regions, shape: tuple[int, int] | None = None) -> np.ndarray:
    """The label of each pixel of one image, as a numpy array.

    Args:
        regions: A partition of a single image, or an integer label map ``[H, W]`` (``partition.labels[i]`` of a batch).
        shape: The ``(H, W)`` that the map must have; any if None.

    Returns:
        ``[H, W]`` int64.

    Raises:
        TypeError: ``regions`` is neither a partition nor an integer array or tensor.
        ValueError: ``regions`` holds another number of images than one, is empty, or has another size than ``shape``.
    """
    if isinstance(regions, Partition):
        if len(regions) != 1:
            raise ValueError(f'regions must be a partition of one image, got {len(regions)}: pass partition.labels[i] instead')
        return label_map(regions.labels[0], shape)
    labels = regions if isinstance(regions, np.ndarray) or not hasattr(regions, 'detach') else regions.detach().cpu().numpy()
    if not isinstance(labels, np.ndarray) or not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f'regions must be a Partition or integer labels, got {getattr(labels, "dtype", type(labels).__name__)}')
    if labels.ndim != 2 or labels.size == 0:
        raise ValueError(f'regions must be a non-empty label map [H, W], got shape {labels.shape}')
    if shape is not None and labels.shape != tuple(shape):
        raise ValueError(f'regions must have the size of the image, {tuple(shape)}, got {labels.shape}')
    return labels.astype(np.int64)
