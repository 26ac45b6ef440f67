"""Regions are cut along a grid into 4-connected parts, the same on all backends, and the fields hold as many as there can be."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from budget_cases import draw_partition, each_backend, image_of, pieces_of
from no_waiting import no_waiting
from partitions import canonical, random_case
from region_cases import bits, needs_library
from torch import Tensor

from dht_mm.ops import cut_regions, use_backend
from dht_mm.structures import Partition

GRIDS = ((1, 1), (2, 3), (5, 1), (7, 7), (1000, 1000))


def cut(partition: Partition, grid: tuple[int, int]) -> tuple[Tensor, ...]:
    return cut_regions(partition.labels, partition.offsets, partition.size, grid)


def parts_of(labels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The definition: pieces of equal label and cell, numbered by their first pixels."""
    y, x = np.indices(labels.shape)
    cell = grid[0] * y // labels.shape[0] * grid[1] + grid[1] * x // labels.shape[1]
    return pieces_of(np.unique(labels * (cell.max() + 1) + cell, return_inverse=True)[1].reshape(labels.shape))


def check_parts(partition: Partition, grid: tuple[int, int], found: tuple[Tensor, ...]) -> None:
    labels, offsets, size, bbox, region = (field.cpu() for field in found)
    expected = np.stack([parts_of(image, grid) for image in partition.labels.cpu().numpy()])
    whole = Partition.from_labels(torch.from_numpy(expected), torch.zeros(len(expected), 1, *expected.shape[1:]))
    batch, height, width = expected.shape
    rows = partition.total_regions + batch * (height * (min(grid[1], width) - 1) + width * (min(grid[0], height) - 1))
    count = whole.total_regions
    assert all(field.dtype == torch.int32 for field in (labels, offsets, size, bbox, region))
    assert len(size) == len(bbox) == len(region) == rows >= count
    assert torch.equal(labels, whole.labels) and torch.equal(offsets, whole.offsets)
    assert torch.equal(size[:count], whole.size) and torch.equal(bbox[:count], whole.bbox)
    assert not size[count:].any() and not bbox[count:].any() and not region[count:].any()
    assert torch.equal(region.long()[whole.packed_labels], partition.to('cpu').packed_labels)


@each_backend
@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('seed', range(4))
def test_parts_are_those_of_the_definition(device: str, backend: str, seed: int, grid: tuple[int, int]):
    partition = draw_partition(seed).to(device)
    with use_backend(backend):
        check_parts(partition, grid, cut(partition, grid))


@each_backend
def test_a_region_that_a_cell_holds_in_two_pieces_makes_two_parts(device: str, backend: str):
    """A C whose back lies in the left cell and whose arms reach into the right one."""
    labels = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]])
    with use_backend(backend):
        found = cut(Partition.from_labels(labels[None], torch.zeros(1, 1, 3, 4)).to(device), (1, 2))
    assert found[0].tolist() == [[[0, 0, 1, 1], [0, 2, 3, 3], [0, 0, 4, 4]]]
    assert found[1].tolist() == [0, 5] and found[2].tolist() == [5, 2, 1, 2, 2] and found[4].tolist() == [0, 0, 1, 1, 0]
    assert found[3].tolist() == [[0, 0, 2, 1], [0, 2, 0, 3], [1, 1, 1, 1], [1, 2, 1, 3], [2, 2, 2, 3]]


def spiral(side: int) -> np.ndarray:
    """A path of one pixel's width that winds inwards, and one beside it that winds with it."""
    labels, place, step = np.zeros((side, side), np.int64), np.array([0, 0]), np.array([0, 1])
    labels[0, 0] = 1
    for length in (count for count in range(side - 1, 0, -2) for _ in range(2)):
        for _ in range(length):
            place = place + step
            labels[tuple(place)] = 1
        step = np.array([step[1], -step[0]])
    return labels


def comb(side: int) -> np.ndarray:
    """Teeth that meet in the last row only."""
    labels = np.indices((side, side))[1] % 2
    labels[-1] = 1
    return labels


def stairs(side: int) -> np.ndarray:
    """Diagonals of two pixels a row, all connected."""
    y, x = np.indices((side, side))
    return (y + x) // 2


@each_backend
@pytest.mark.parametrize('pattern', [spiral, comb, stairs], ids=lambda pattern: pattern.__name__)
@pytest.mark.parametrize('grid', [(1, 1), (2, 2), (3, 5)])
def test_winding_regions(device: str, backend: str, pattern: Callable, grid: tuple[int, int]):
    maps = [pieces_of(turned) for turned in (pattern(41), pattern(41)[::-1].copy(), pattern(41).T.copy()[:, ::-1])]
    partition = Partition.from_labels(torch.from_numpy(np.stack(maps)), torch.zeros(3, 1, 41, 41)).to(device)
    with use_backend(backend):
        check_parts(partition, grid, cut(partition, grid))


@each_backend
@pytest.mark.parametrize('size', [(1, 1), (1, 2), (2, 1), (1, 40), (40, 1)])
def test_tiny_images(device: str, backend: str, size: tuple[int, int]):
    partition = random_case(batch=2, height=size[0], width=size[1], seeds=9)[1].to(device)
    with use_backend(backend):
        for grid in GRIDS:
            check_parts(partition, grid, cut(partition, grid))


@needs_library
@pytest.mark.parametrize('seed', range(6))
def test_backends_agree_on_random_sizes(device: str, seed: int):
    """More pixels than the blocks of a launch have threads for, and images that end within a tile of the scan."""
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(1, 300, 2))
    _, partition = random_case(batch=int(random.integers(1, 5)), height=height, width=width, seeds=int(random.integers(1, 200)), seed=seed)
    grid = tuple(int(cells) for cells in random.integers(1, 12, 2))
    with use_backend('torch'):
        expected = cut(partition, grid)
    with use_backend('ext'):
        assert bits([*cut(partition.to(device), grid)]) == bits([*expected])


@each_backend
def test_an_image_does_not_see_its_batch(device: str, backend: str):
    partition = draw_partition(3).to(device)
    with use_backend(backend):
        labels, offsets, size, bbox, region = cut(partition, (3, 2))
        for image in range(len(partition)):
            alone, count = cut(image_of(partition, image), (3, 2)), int(offsets[image + 1] - offsets[image])
            rows = slice(int(offsets[image]), int(offsets[image + 1]))
            assert torch.equal(alone[0][0], labels[image]) and alone[1].tolist() == [0, count]
            assert torch.equal(alone[2][:count], size[rows]) and torch.equal(alone[3][:count], bbox[rows])
            assert torch.equal(alone[4][:count], region[rows] - partition.offsets[image])


@each_backend
def test_rows_of_no_region_change_nothing(device: str, backend: str):
    _, partition = random_case()
    partition = partition.to(device)
    with use_backend(backend):
        packed = cut(partition, (2, 3))
        fixed = cut_regions(partition.labels, partition.offsets, torch.cat([partition.size, partition.size.new_zeros(50)]), (2, 3))
    assert all(torch.equal(more[:len(field)], field) and not more[len(field):].any() for more, field in zip(fixed, packed, strict=True))


@each_backend
def test_regions_that_did_not_fit_have_no_part(device: str, backend: str):
    nothing = (torch.zeros(shape, dtype=torch.int32, device=device) for shape in ((2, 5, 6), 3, 4))
    with use_backend(backend):
        found = cut_regions(*nothing, (2, 2))
    assert [tuple(field.shape) for field in found] == [(2, 5, 6), (3,), (26,), (26, 4), (26,)]
    assert not any(field.any() for field in found)


@needs_library
def test_layout_and_integer_width_change_no_bit(device: str):
    partition = random_case(batch=2, height=20, width=30, seeds=60)[1].to(device)
    strided = partition.labels.long().mT.contiguous().mT
    with use_backend('ext'):
        found = cut_regions(strided, partition.offsets.long(), partition.size.long(), (3, 4))
        assert bits([*found]) == bits([*cut(partition, (3, 4))])


@each_backend
def test_opcheck(device: str, backend: str):
    partition = random_case()[1].to(device)
    with use_backend(backend):
        torch.library.opcheck(torch.ops.dht_mm.cut_regions.default,
                              (partition.labels, partition.offsets, partition.size, 2, 3))


@needs_library
def test_it_does_not_wait_for_the_device(device: str):
    if device == 'cpu':
        pytest.skip('only a GPU can be waited for')
    partition = random_case()[1].to(device)
    with use_backend('ext'), no_waiting():
        cut(partition, (2, 3))


@each_backend
def test_what_the_cpu_refuses(backend: str):
    _, partition = random_case()
    apart = canonical(torch.arange(36).view(6, 6) % 2)[None]  # two labels in columns, each in three pieces
    with use_backend(backend):
        with pytest.raises(ValueError, match='labels must be of connected regions: they have 6 parts, more than 2'):
            cut_regions(apart, torch.tensor([0, 2]), torch.tensor([18, 18]), (1, 1))
        partition.labels[1, 3, 4] = 9999
        with pytest.raises(ValueError, match='labels .* image 1'):
            cut(partition, (2, 2))


@pytest.mark.parametrize(('grid', 'message'), [
    (3, 'grid must be two numbers of cells, along y and along x, got 3'), ((1, 2, 3), 'grid must be two numbers'),
    ((0, 2), 'grid_y must be a positive integer, got 0'), ((2, 1.5), 'grid_x must be a positive integer, got 1.5')])
def test_bad_grids_are_named(grid: object, message: str):
    with pytest.raises(ValueError, match=message):
        cut(random_case()[1], grid)


def test_bad_labels_are_named():
    _, partition = random_case()
    with pytest.raises(TypeError, match='labels and offsets must be integers'):
        cut_regions(partition.labels.float(), partition.offsets, partition.size, (2, 2))
    with pytest.raises(ValueError, match='labels must have pixels'):
        cut_regions(partition.labels[:, :0], partition.offsets, partition.size, (2, 2))
    with pytest.raises(ValueError, match='labels, offsets, size must be on one device'):
        cut_regions(partition.labels, partition.offsets, partition.size.to('meta'), (2, 2))
    with pytest.raises(ValueError, match=r'size be \[R\], got shapes .* and \(16, 1\)'):
        cut_regions(partition.labels, partition.offsets, partition.size[:, None], (2, 2))
