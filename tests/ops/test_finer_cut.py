"""The cut that an exact budget merges from: regions of one level for each image, in every backend the same bits."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from budget_cases import each_backend
from no_waiting import no_waiting
from region_cases import bits, needs_library
from torch import Tensor

from dht_mm.ops import Hierarchy, build_fixed_hierarchy, build_hierarchy, finer_cut, use_backend
from dht_mm.ops.finer_cut import FINENESS

FIELDS = Hierarchy._fields[:7]
ROWS = ('node', 'bbox', 'size', 'mean')
TARGETS = (1, 3, 17, 60, 10**12)


def blobs(batch: int = 3, height: int = 31, width: int = 26, channels: int = 4) -> Tensor:
    """Squares of one colour under noise, less of it in earlier images."""
    generator = torch.Generator().manual_seed(height)
    coarse = torch.randn(batch, channels, height // 5 + 1, width // 5 + 1, generator=generator)
    noise = torch.linspace(0, 0.3, batch)[:, None, None, None] * torch.randn(batch, channels, height, width, generator=generator)
    return coarse.repeat_interleave(5, 2).repeat_interleave(5, 3)[:, :, :height, :width] + noise


def constant() -> Tensor:
    return torch.full((2, 3, 20, 23), 0.7)


def checkerboard() -> Tensor:
    y, x = np.indices((24, 17))
    return torch.from_numpy((y + x) % 2).float().expand(2, 3, 24, 17).contiguous()


def tiny() -> Tensor:
    return torch.tensor([[[[0.0, 1.0, 0.5]]], [[[2.0, 2.0, 2.0]]]])


CASES = (blobs, constant, checkerboard, tiny, lambda: torch.ones(2, 1, 1, 1), lambda: blobs(1, 1, 50), lambda: blobs(2, 60, 70, 8))
each_case = pytest.mark.parametrize('case', CASES, ids=['blobs', 'constant', 'checkerboard', 'tiny', 'pixel', 'line', 'large'])


def build(features: Tensor, capacity: int | None = None, min_regions: int = 6) -> Hierarchy:
    arguments = features, torch.zeros_like(features[0, :, 0, 0]), torch.full_like(features[0, 0, 0, 0], -3.0)
    if capacity is None:
        return build_hierarchy(*arguments, min_regions=min_regions)
    return build_fixed_hierarchy(*arguments, capacity, min_regions=min_regions)


def to(hierarchy: Hierarchy, device: str) -> Hierarchy:
    return Hierarchy(*(field.to(device) for field in hierarchy))


def nodes_of_levels(hierarchy: Hierarchy) -> list[np.ndarray]:
    """The node that each pixel lies in at level 1, 2, ..., whole images left out: ``[B, H * W]`` each."""
    parent, starts = hierarchy.parent.numpy(), hierarchy.level_starts.tolist()
    node, found = np.arange(hierarchy.labels.numel()), []
    for _ in starts[2:-1]:
        node = parent[node]
        found.append(node.reshape(len(hierarchy.labels), -1))
    return found


def cut_by_definition(hierarchy: Hierarchy, target: int, image: int) -> dict[str, np.ndarray]:
    """An image's labels and rows, found by counting pixels."""
    nodes = [level[image] for level in nodes_of_levels(hierarchy)]
    counts = [len(np.unique(level)) for level in nodes]
    selected = int(hierarchy.num_regions[image])
    enough = [level for level, count in enumerate(counts) if count >= FINENESS * target]
    if not counts or counts[0] < min(selected, target):
        rows = slice(int(hierarchy.offsets[image]), int(hierarchy.offsets[image + 1]))
        return dict(labels=hierarchy.labels[image].numpy(), **{name: getattr(hierarchy, name)[rows].numpy() for name in ROWS})
    node, label = np.unique(nodes[max(enough, default=0)], return_inverse=True)
    height, width = hierarchy.labels.shape[1:]
    y, x = np.indices((height, width)).reshape(2, -1)
    boxes = [[axis[label == region].min() if low else axis[label == region].max() for low in (True, False) for axis in (y, x)]
             for region in range(len(node))]
    return dict(labels=label.reshape(height, width), node=node, bbox=np.array(boxes), size=np.bincount(label),
                mean=hierarchy.node_mean.numpy()[node - hierarchy.labels.numel()])


@each_backend
@each_case
@pytest.mark.parametrize('target', TARGETS)
def test_is_the_coarsest_level_with_enough_regions(device: str, backend: str, case: Callable[[], Tensor], target: int):
    hierarchy = build(case())
    with use_backend(backend):
        moved = to(hierarchy, device)
        cut = finer_cut(moved, target)
    assert all(field is same for field, same in zip(cut[7:], moved[7:], strict=True)), 'what is not of the regions stays'
    cut = to(cut, 'cpu')
    assert cut.offsets.tolist() == [0, *cut.num_regions.cumsum(0).tolist()]
    for image in range(len(hierarchy.labels)):
        rows = slice(int(cut.offsets[image]), int(cut.offsets[image + 1]))
        for name, expected in cut_by_definition(hierarchy, target, image).items():
            found = cut.labels[image] if name == 'labels' else getattr(cut, name)[rows]
            assert np.array_equal(found.numpy(), expected), (image, name)
            assert found.dtype == (torch.float32 if name == 'mean' else torch.int32)


def test_targets_lead_to_several_levels():
    counts = [[len(np.unique(nodes)) for nodes in level] for level in nodes_of_levels(build(blobs()))]
    found = {finer_cut(build(blobs()), target).num_regions.tolist()[0] for target in TARGETS}
    assert len(found) > 1 and found <= {count for count, *_ in counts}


@each_backend
def test_single_pixels_that_are_selected_are_kept_where_level_1_has_too_few_regions(device: str, backend: str):
    hierarchy = build(blobs(2, 8, 8))
    pixel = torch.arange(128, dtype=torch.int32)
    place = torch.stack([pixel % 64 // 8, pixel % 8], 1)
    pixels = hierarchy._replace(
        labels=(pixel % 64).view(2, 8, 8), num_regions=torch.tensor([64, 64]), offsets=torch.tensor([0, 64, 128]), node=pixel,
        size=torch.ones_like(pixel), bbox=torch.cat([place, place], 1).int(), mean=torch.randn(128, 4))
    level = [len(np.unique(nodes)) for nodes in nodes_of_levels(hierarchy)[0]]
    assert level[0] != level[1] and max(level) < 60
    with use_backend(backend):
        kept, mixed = (to(finer_cut(to(pixels, device), target), 'cpu') for target in (60, max(level)))
    for field in FIELDS:
        assert torch.equal(getattr(kept, field), getattr(pixels, field).to(getattr(kept, field).dtype)), field
    assert mixed.num_regions.tolist() == [count if count == max(level) else 64 for count in level]


def golden_features(shared: Path) -> Tensor:
    images = []
    for name in ('cityhydrant_128x128_aicc_cmp0.1', 'toys_128x128_cic_cmp0.01'):
        with np.load(shared / f'golden/tokenizer_{name}.npz') as arrays:
            images.append(torch.from_numpy(arrays['image']).movedim(2, 0) / 255)
    return torch.stack(images)


@needs_library
@pytest.mark.parametrize('target', TARGETS[:-1])
def test_golden_images_have_the_bits_of_the_definition(device: str, shared: Path, target: int):
    hierarchy = build(golden_features(shared))
    with use_backend('torch'):
        expected = finer_cut(hierarchy, target)
    with use_backend('ext'):
        assert bits(finer_cut(to(hierarchy, device), target)[:7]) == bits(expected[:7])


@each_backend
@pytest.mark.parametrize('target', TARGETS)
def test_rows_of_a_fixed_length_hold_the_same(device: str, backend: str, target: int):
    features = blobs().to(device)
    with use_backend(backend):
        expected = finer_cut(build(features), target)
        total = len(expected.size)
        fixed = [finer_cut(hierarchy, target, total + more) for hierarchy in (build(features), build(features, 2000)) for more in (0, 9)]
        small = finer_cut(build(features), target, total - 1)
    for cut, rows in zip(fixed, (total, total + 9) * 2, strict=True):
        for field in FIELDS:
            found, wanted = getattr(cut, field), getattr(expected, field)
            assert torch.equal(found[:len(wanted)], wanted) and not found[len(wanted):].any(), field
            assert len(found) == (rows if field in ROWS else len(wanted))
    check_nothing(small, total - 1)


def check_nothing(cut: Hierarchy, rows: int) -> None:
    assert (cut.num_regions == -1).all() and [len(getattr(cut, field)) for field in ROWS] == [rows] * 4
    assert not any(getattr(cut, field).any() for field in ('labels', 'offsets', *ROWS))


@each_backend
def test_a_hierarchy_whose_regions_did_not_fit_has_no_cut(device: str, backend: str):
    with use_backend(backend):
        hierarchy = build(blobs().to(device), 1)
        check_nothing(finer_cut(hierarchy, 4, 70), 70)
        check_nothing(finer_cut(hierarchy, 4), 0)


@each_backend
@pytest.mark.parametrize('target', TARGETS)
def test_an_image_does_not_see_its_batch(device: str, backend: str, target: int):
    features = blobs().to(device)
    with use_backend(backend):
        cut = finer_cut(build(features), target)
        for image in range(3):
            alone = finer_cut(build(features[image:image + 1]), target)
            rows = slice(int(cut.offsets[image]), int(cut.offsets[image + 1]))
            assert torch.equal(alone.labels[0], cut.labels[image])
            assert all(torch.equal(getattr(alone, field), getattr(cut, field)[rows]) for field in ('size', 'bbox', 'mean'))


@needs_library
def test_repetition_and_threads_change_no_bit(device: str, other_threads: Callable):
    hierarchy, seen = build(blobs(8).to(device)), set()
    for number in range(20):
        with use_backend('ext'), other_threads() if number % 2 else nullcontext():
            seen.add(str(bits(finer_cut(hierarchy, 9)[:7])))
    assert len(seen) == 1


@needs_library
def test_a_cut_into_fixed_rows_does_not_wait_for_the_device(device: str):
    if device == 'cpu':
        pytest.skip('only a GPU can be waited for')
    hierarchy = build(blobs().to(device), 2000)
    with use_backend('ext'), no_waiting():
        cut = finer_cut(hierarchy, 9, 2000)
    assert torch.equal(cut.labels, finer_cut(hierarchy, 9).labels)


@each_backend
@pytest.mark.parametrize('rows', [None, 500])
def test_opcheck(device: str, backend: str, rows: int | None):
    hierarchy = build(blobs(2, 12, 15).to(device))
    arguments = (*hierarchy[:1], *hierarchy[2:6], hierarchy.parent, hierarchy.node_size, hierarchy.node_bbox, hierarchy.mean,
                 hierarchy.node_mean, hierarchy.level_starts)
    with use_backend(backend):
        torch.library.opcheck(torch.ops.dht_mm.finer_cut.default, (*arguments, 20, 4, rows))


@pytest.mark.parametrize('value', [0, -1, 2.5, True, 'x', None])
def test_targets_are_checked(value: object):
    with pytest.raises(ValueError, match='target must be a positive integer, got'):
        finer_cut(build(constant()), value)


@pytest.mark.parametrize('value', [0, -1, 2.5, True, 'x', 2**31])
def test_rows_are_checked(value: object):
    with pytest.raises(ValueError, match='rows must be a positive integer below 2\\^31, got'):
        finer_cut(build(constant()), 3, value)


def test_fields_on_two_devices_are_refused():
    hierarchy = build(constant())
    with pytest.raises(ValueError, match='labels, parent, level_starts must be on one device, got cpu, meta, cpu'):
        finer_cut(hierarchy._replace(parent=hierarchy.parent.to('meta')), 3)
