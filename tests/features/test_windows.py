"""Windows lie in the middle of their regions, in the image, wherever that is; those of cells are the cells."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from partitions import random_case

from dht_mm.features import FormFeatures, find_windows
from dht_mm.structures import Partition
from dht_mm.tokenizer import GridTokenizer


def from_labels(rows: list[list[int]]) -> Partition:
    labels = torch.tensor(rows)[None]
    return Partition.from_labels(labels, torch.zeros(1, 1, *labels.shape[1:]))


def test_windows_of_patches_are_the_patches():
    images = torch.randn(2, 3, 12, 20)
    partition = GridTokenizer(4)(images)
    windows = find_windows(partition, 4, (4, 4))
    boxes = torch.cat([partition.bbox[:, :2], partition.bbox[:, 2:] + 1], 1)
    assert torch.equal(windows.boxes, boxes.float())
    patches = images.unfold(2, 4, 4).unfold(3, 4, 4).movedim(1, 3).flatten(0, 2)
    pixels, mask = windows.cut(images, partition)
    assert torch.equal(pixels, patches) and torch.equal(mask, torch.ones(30, 1, 4, 4))


def test_other_sizes_of_windows_scale_the_image():
    images = torch.randn(1, 3, 12, 24)
    windows = find_windows(GridTokenizer(6)(images), 4, (6, 6))
    assert windows.size == (8, 16) and torch.equal(windows.boxes[1], torch.tensor([0., 6, 6, 12]))
    pixels, mask = windows.cut(images, GridTokenizer(6)(images))
    scaled = torch.nn.functional.interpolate(images, (8, 16), mode='bilinear', antialias=True)
    assert torch.equal(pixels[5], scaled[0, :, 4:8, 4:8]) and mask.all()
    low, wide = find_windows(GridTokenizer(6)(images), 4, (3, 6)), find_windows(GridTokenizer(6)(images), 4, (6, 12))
    assert low.size == (16, 16) and wide.size == (8, 8)


def test_a_centroid_outside_moves_to_the_nearest_pixel_in_raster_order():
    ring = from_labels([[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]])
    windows = find_windows(ring, 1, (1, 1))
    assert windows.centroid.tolist() == [[2, 2], [2, 2]]
    assert windows.corner.tolist() == [[0, 2], [2, 2]]  # above, left, right and below are as near


def test_windows_stay_in_the_image():
    for shape in ((1, 1), (1, 9), (3, 2)):
        partition = from_labels(torch.zeros(shape, dtype=torch.int64).tolist())
        windows = find_windows(partition, 4, (4, 4))
        assert windows.size == tuple(max(4, side) for side in shape)
        pixels, mask = windows.cut(torch.ones(1, 3, *shape), partition)
        torch.testing.assert_close(pixels, torch.ones(1, 3, 4, 4))
        assert torch.equal(mask, torch.ones(1, 1, 4, 4))


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(1, 9), st.floats(1, 9))
def test_windows_of_any_regions(seed: int, patch_size: int, height: float, width: float):
    image, partition = random_case(seed=seed)
    windows = find_windows(partition, patch_size, (height, width))
    ends = windows.corner + patch_size
    assert windows.corner.min() >= 0 and (ends[:, 0] <= windows.size[0]).all() and (ends[:, 1] <= windows.size[1]).all()
    pixels, mask = windows.cut(image, partition)
    y, x = ((torch.arange(count) + 0.5) * (length / count) for count, length in zip(windows.size, partition.labels.shape[1:], strict=True))
    scaled = partition.labels[:, y.long()[:, None], x.long()]
    for row, (top, left) in enumerate(windows.corner.tolist()):
        index = int(partition.image_index[row])
        own = scaled[index, top:top + patch_size, left:left + patch_size] == row - partition.offsets[index]
        assert torch.equal(mask[row, 0], own.float())
    for index in range(len(image)):
        alone = Partition.from_labels(partition.labels[index:index + 1], image[index:index + 1])
        assert torch.equal(find_windows(alone, patch_size, (height, width)).corner, windows.corner[partition.image_index == index])


def test_form_tells_own_pixels_colours_and_extent():
    partition = from_labels([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    image = torch.where(partition.labels == 1, 5.0, torch.tensor([[1., 3]]).repeat(4, 2))[:, None]
    windows = find_windows(partition, 2, (2, 2))
    form = FormFeatures(1, 2)
    rows = form(image, partition, windows, windows.cut(image, partition)[1])
    assert rows.shape == (2, form.dims) and form.dims == 4 + 2 + 5
    assert rows[1].tolist() == [1, 1, 1, 1, 5, 0, 0, 0, 1, 0, 1]
    mask, colour, deviation, size = rows[0].split([4, 1, 1, 5])
    assert windows.corner[0].tolist() == [1, 1] and mask.tolist() == [1, 0, 1, 1]
    assert colour == 2 and deviation == 1 and size[0].item() == pytest.approx(torch.tensor(3.0).log().item())
    centroid = torch.tensor([11 / 6, 7 / 6]) + 0.5
    torch.testing.assert_close(size[1::2], (centroid - 2) / 2)
    assert size[2::2].tolist() == [2, 2]


def test_form_passes_the_shift_of_colours_on():
    image, partition = random_case()
    shift = torch.zeros_like(partition.color).requires_grad_()
    form, windows = FormFeatures(3, 3), find_windows(partition, 3, (3, 3))
    mask = windows.cut(image, partition)[1]
    rows, plain = form(image, partition, windows, mask, shift + 1), form(image, partition, windows, mask)
    torch.testing.assert_close(rows[:, 9:12], plain[:, 9:12] + 1)
    assert torch.equal(rows[:, 12:], plain[:, 12:])
    rows.sum().backward()
    assert torch.equal(shift.grad, torch.ones_like(shift))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_finds_the_same_windows():
    image, partition = random_case(batch=4, height=97, width=131, seeds=60)
    for size in ((16, 16), (7.5, 9.1)):
        windows, there = (find_windows(part, 14, size) for part in (partition, partition.to('cuda')))
        assert torch.equal(windows.corner, there.corner.cpu()) and torch.equal(windows.centroid, there.centroid.cpu())
        (pixels, mask), found = windows.cut(image, partition), there.cut(image.cuda(), partition.to('cuda'))
        torch.testing.assert_close(found[0].cpu(), pixels, atol=1e-4, rtol=1e-5)  # torch resizes images on each device its own way
        assert torch.equal(found[1].cpu(), mask)
