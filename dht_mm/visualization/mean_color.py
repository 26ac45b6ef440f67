"""Each region painted with the mean colour of its pixels."""

import numpy as np

from dht_mm.vector.checks import Regions, check_image, label_map


def paint_mean_color(image: np.ndarray, regions: Regions) -> np.ndarray:
    """The image as its partition sees it: every pixel takes the mean colour of its region.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        regions: A partition of one image or a label map ``[H, W]``.

    Returns:
        ``[H, W, 3]`` uint8, means rounded to the nearest.

    Raises:
        TypeError: ``image`` or ``regions`` is of another type.
        ValueError: ``regions`` has another size than ``image``.
    """
    labels = label_map(regions, check_image(image).shape[:2])
    _, index = np.unique(labels.ravel(), return_inverse=True)
    total = np.stack([np.bincount(index, weights=channel) for channel in image.reshape(-1, 3).T], axis=1)  # [R, 3]
    mean = np.rint(total / np.bincount(index)[:, None]).astype(np.uint8)
    return mean[index].reshape(image.shape)
