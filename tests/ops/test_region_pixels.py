"""Samples of regions' boxes: against plain loops, exact where they should be, and differentiable."""

import math

import pytest
import torch
from partitions import random_case
from torch import Tensor

from dht_mm.ops import region_pixels
from dht_mm.structures import Partition

SIZES = [(13, 17), (1, 9), (8, 1), (2, 2), (1, 1)]


def sample(image: Tensor, partition: Partition, patch_size: int) -> tuple[Tensor, Tensor]:
    return region_pixels(image, partition.labels, partition.offsets, partition.bbox, patch_size)


def bilinear(plane: Tensor, y: float, x: float) -> float:
    """Value of a ``[H, W]`` plane at a point within it."""
    bottom, right = (min(math.floor(p) + 1, length - 1) for p, length in zip((y, x), plane.shape, strict=True))
    top, left = math.floor(y), math.floor(x)
    above = plane[top, left] * (1 - x + left) + plane[top, right] * (x - left)
    below = plane[bottom, left] * (1 - x + left) + plane[bottom, right] * (x - left)
    return above * (1 - y + top) + below * (y - top)


@pytest.mark.parametrize('height, width', SIZES)
@pytest.mark.parametrize('patch_size', [1, 2, 5])
def test_points_run_from_one_end_of_the_box_to_the_other(height: int, width: int, patch_size: int):
    image, partition = random_case(height=height, width=width, dtype=torch.float64)
    samples, mask = sample(image, partition, patch_size)
    assert samples.shape == (partition.total_regions, 3, patch_size, patch_size) and mask.shape[1] == 1
    for row, (box, index) in enumerate(zip(partition.bbox.tolist(), partition.image_index, strict=True)):
        own = (partition.packed_labels[index] == row).double()
        ys, xs = (torch.linspace(box[axis], box[axis + 2], patch_size, dtype=torch.float64).tolist() for axis in (0, 1))
        for (i, y), (j, x) in ((a, b) for a in enumerate(ys) for b in enumerate(xs)):
            expected = torch.tensor([bilinear(plane, y, x) for plane in (*image[index], own)])
            assert torch.allclose(torch.cat([samples[row, :, i, j], mask[row, :, i, j]]), expected, atol=1e-9)


def test_a_box_of_the_patch_size_gives_its_pixels_exactly():
    image = torch.randn(2, 3, 8, 12)
    grid = torch.arange(8)[:, None] // 4 * 3 + torch.arange(12) // 4
    partition = Partition.from_labels(grid.expand(2, -1, -1), image)
    samples, mask = sample(image, partition, 4)
    patches = image.view(2, 3, 2, 4, 3, 4).permute(0, 2, 4, 1, 3, 5).reshape(12, 3, 4, 4)
    assert torch.equal(samples, patches) and (mask == 1).all()


def test_a_region_of_one_pixel_is_that_pixel():
    image = torch.randn(1, 3, 4, 5)
    partition = Partition.from_labels(torch.arange(20).view(1, 4, 5), image)
    samples, mask = sample(image, partition, 3)
    assert torch.equal(samples, image[0].flatten(1).T[:, :, None, None].expand(20, 3, 3, 3)) and (mask == 1).all()


def test_mask_is_the_share_of_own_pixels():
    image, partition = random_case()
    mask = sample(image, partition, 8)[1]
    assert mask.min() >= 0 and mask.max() <= 1 + 1e-6 and (mask.flatten(1).amax(1) > 0).all() and (mask < 0.5).any()


def test_gradient_to_the_image():
    image, partition = random_case(height=5, width=6, seeds=4, channels=2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda image: sample(image, partition, 3)[0], image.requires_grad_())


def test_bad_input_is_named():
    image, partition = random_case()
    labels, offsets, bbox = partition.labels, partition.offsets, partition.bbox
    with pytest.raises(ValueError, match='patch_size .* got 0'):
        region_pixels(image, labels, offsets, bbox, 0)
    with pytest.raises(ValueError, match=r'image .* got \(2, 3, 13, 16\)'):
        region_pixels(image[..., 1:], labels, offsets, bbox, 2)
    with pytest.raises(TypeError, match='image .* got torch.int64'):
        region_pixels(image.long(), labels, offsets, bbox, 2)
    with pytest.raises(ValueError, match='bbox'):
        region_pixels(image, labels, offsets, bbox.T, 2)
    with pytest.raises(ValueError, match='offsets'):
        region_pixels(image, labels, offsets[1:], bbox, 2)
    with pytest.raises(TypeError, match='labels'):
        region_pixels(image, labels.float(), offsets, bbox, 2)
