"""The pixels of regions: every region's bounding box, resampled to one size."""

from torch import Tensor

from .checks import check_labels, check_positive
from .reference import region_pixels as reference


def region_pixels(image: Tensor, labels: Tensor, offsets: Tensor, bbox: Tensor, patch_size: int) -> tuple[Tensor, Tensor]:
    """Sample an image bilinearly at points that run from one end of a region's box to the other (paper, region features).

    A box of ``patch_size`` pixels a side is sampled at its pixels exactly.

    Args:
        image: ``[B, C, H, W]`` float.
        labels: ``[B, H, W]`` integer, the region of each pixel, numbered per image.
        offsets: ``[B + 1]`` integer, first row of each image.
        bbox: ``[R, 4]`` integer, inclusive ymin, xmin, ymax, xmax of each region, within the image.
        patch_size: Points ``q`` along each side of a box; the first and the last lie on the box's outermost pixels.

    Returns:
        The samples ``[R, C, q, q]``, differentiable to ``image``; and the mask ``[R, 1, q, q]``, the region's own pixels (1, all
        others 0) sampled with the same weights. Both in the dtype of ``image``.

    Raises:
        TypeError: ``image`` is not floating point.
        ValueError: The shapes do not fit together, or ``patch_size`` is not a positive integer.
    """
    check_labels(labels, offsets)
    check_positive(patch_size=patch_size)
    if not image.is_floating_point():
        raise TypeError(f'image must be floating point, got {image.dtype}')
    if image.dim() != 4 or (image.shape[0], *image.shape[2:]) != labels.shape:
        raise ValueError(f'image must be [B, C, H, W] for labels of {tuple(labels.shape)}, got {tuple(image.shape)}')
    if bbox.dim() != 2 or bbox.shape[1] != 4:
        raise ValueError(f'bbox must be [R, 4], got shape {tuple(bbox.shape)}')
    return reference.region_pixels(image, labels, offsets, bbox, patch_size)
