"""The pixels of regions: every region's bounding box, resampled to one size."""

import torch
from torch import Tensor

from .backend import contiguous_ints, use_ext
from .checks import check_labels, check_positive
from .op import define
from .reference import region_pixels as reference
from .reference.packing import fill_rows, used_rows

LARGEST_PATCH = 46340  # its square is the number of points


def region_pixels(image: Tensor, labels: Tensor, offsets: Tensor, bbox: Tensor, patch_size: int,
                  shift: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sample an image bilinearly at points that run from one end of a region's box to the other (paper, region features).

    A box of ``patch_size`` pixels a side is sampled at its pixels exactly.

    Args:
        image: ``[B, C, H, W]`` float.
        labels: ``[B, H, W]`` integer, the region of each pixel, numbered per image.
        offsets: ``[B + 1]`` integer, first row of each image.
        bbox: ``[R, 4]`` integer, inclusive ymin, xmin, ymax, xmax of each region, within the image. Rows from ``offsets[-1]`` on, of a
            fixed length, are of no region: their samples and mask are zero and pass no gradient. On a GPU, samples are NaN where no row
            is of a region, for then the regions did not fit; on a CPU this is an error.
        patch_size: Points ``q`` along each side of a box; the first and the last lie on the box's outermost pixels.
        shift: ``[R, C]`` float, added to the pixels of each region before they are sampled. The shifted image is not built.

    Returns:
        The samples ``[R, C, q, q]``, differentiable to ``image`` and ``shift``; and the mask ``[R, 1, q, q]``, the region's own
        pixels (1, all others 0) sampled with the same weights. Both in the dtype of ``image``. The compiled kernels give the same
        bits in every run, for any number of threads and on every device, and so do their gradients.

    Raises:
        TypeError: ``image`` is not floating point.
        ValueError: The shapes do not fit together, or ``patch_size`` is not a positive integer.
    """
    check_labels(labels, offsets, image=image, bbox=bbox, **({} if shift is None else dict(shift=shift)))
    check_positive(patch_size=patch_size)
    if patch_size > LARGEST_PATCH:
        raise ValueError(f'patch_size must be at most {LARGEST_PATCH}, got {patch_size}')
    if not image.is_floating_point():
        raise TypeError(f'image must be floating point, got {image.dtype}')
    if image.dim() != 4 or (image.shape[0], *image.shape[2:]) != labels.shape:
        raise ValueError(f'image must be [B, C, H, W] for labels of {tuple(labels.shape)}, got {tuple(image.shape)}')
    if bbox.dim() != 2 or bbox.shape[1] != 4:
        raise ValueError(f'bbox must be [R, 4], got shape {tuple(bbox.shape)}')
    if shift is not None:
        if shift.shape != (bbox.shape[0], image.shape[1]):
            raise ValueError(f'shift must be [R, C] = {(bbox.shape[0], image.shape[1])}, got shape {tuple(shift.shape)}')
        shift = shift.to(image.dtype)
    return _region_pixels(image, labels, offsets, bbox, shift, patch_size)


@define('region_pixels', '(Tensor image, Tensor labels, Tensor offsets, Tensor bbox, Tensor? shift, int patch_size) -> (Tensor, Tensor)')
def _region_pixels(image, labels, offsets, bbox, shift, patch_size):
    if use_ext(image):
        shift = None if shift is None else shift.contiguous()
        return torch.ops.dht_mm_ext.region_pixels(
            image.contiguous(), *contiguous_ints(labels, offsets, bbox), shift, patch_size)
    used, = used_rows(offsets, bbox)
    samples, mask = reference.region_pixels(image, labels, offsets, used, shift, patch_size)
    return fill_rows(samples, len(bbox), 0.0 if len(used) else torch.nan), fill_rows(mask, len(bbox))


@_region_pixels.register_fake
def _(image, labels, offsets, bbox, shift, patch_size):
    total, channels = bbox.shape[0], image.shape[1]
    return (image.new_empty(total, channels, patch_size, patch_size), image.new_empty(total, 1, patch_size, patch_size))


@define('region_pixels_backward', '(Tensor grad, Tensor labels, Tensor offsets, Tensor bbox, bool per_region) -> Tensor')
def _region_pixels_backward(grad, labels, offsets, bbox, per_region):
    if use_ext(grad):
        return torch.ops.dht_mm_ext.region_pixels_backward(grad.contiguous(), *contiguous_ints(labels, offsets, bbox), per_region)
    found = reference.region_pixels_backward(*used_rows(offsets, grad), labels, offsets, *used_rows(offsets, bbox), per_region)
    return fill_rows(found, len(bbox)) if per_region else found


@_region_pixels_backward.register_fake
def _(grad, labels, offsets, bbox, per_region):
    batch, height, width = labels.shape
    channels = grad.shape[1]
    return grad.new_empty(bbox.shape[0], channels) if per_region else grad.new_empty(batch, channels, height, width)


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[1:4])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad, _):
    to_image, to_shift = ctx.needs_input_grad[0], ctx.needs_input_grad[4]
    return (_region_pixels_backward(grad, *ctx.saved_tensors, False) if to_image else None, None, None, None,
            _region_pixels_backward(grad, *ctx.saved_tensors, True) if to_shift else None, None)


_region_pixels.register_autograd(_backward, setup_context=_setup_context)
