"""Tensors of one call lie on one device, or the arguments are named: a kernel would read from the wrong memory."""

from collections.abc import Callable

import pytest
import torch
from partitions import random_case

from dht_mm import ops

IMAGE, PARTITION = random_case(batch=2, height=9, width=12, seeds=7)
LABELS, OFFSETS, SIZE, BBOX = PARTITION.labels, PARTITION.offsets, PARTITION.size, PARTITION.bbox
ROWS = torch.randn(len(SIZE), 3)
AWAY = torch.device('meta')
LAYER = (torch.randn(8, 3), *torch.ones(5, 8))

CALLS: dict[str, Callable[[], object]] = {
    'features, slope, bias': lambda: ops.build_hierarchy(IMAGE, torch.zeros(3, device=AWAY), torch.zeros(())),
    'rows, weight, bias': lambda: ops.exact_linear(ROWS, torch.randn(4, 3), torch.zeros(4, device=AWAY)),
    'weight, bias, gamma, beta, mean, variance': lambda: ops.fold_norm(LAYER[0].to(AWAY), *LAYER[1:], 1e-5),
    'labels, offsets, features, size': lambda: ops.region_mean(IMAGE, LABELS, OFFSETS, SIZE.to(AWAY)),
    'labels, offsets, image, bbox, shift': lambda: ops.region_pixels(IMAGE, LABELS, OFFSETS, BBOX, 4, ROWS.to(AWAY)),
    'labels, offsets, image, bbox': lambda: ops.region_pixels(IMAGE.to(AWAY), LABELS, OFFSETS, BBOX, 4),
    'labels, offsets': lambda: ops.position_histogram(LABELS, OFFSETS.to(AWAY), len(SIZE), (2, 2)),
    'labels, offsets, gradient': lambda: ops.gradient_histogram(IMAGE[:, :2].to(AWAY), LABELS, OFFSETS, len(SIZE), 4),
    'labels, offsets, tokens': lambda: ops.pool_cells(ROWS.to(AWAY), LABELS, OFFSETS, 4),
    'labels, offsets, size, bbox, color': lambda: ops.soft_merge(LABELS, OFFSETS, SIZE, BBOX, ROWS.to(AWAY), 3),
    'labels, offsets, image, size': lambda: ops.hard_merge(IMAGE, LABELS, OFFSETS.to(AWAY), SIZE, 3),
    'mean, offsets, size, parent, united_size': lambda: ops.united_mean(ROWS, OFFSETS, SIZE, SIZE.to(AWAY), SIZE, 108),
}


@pytest.mark.parametrize('names', CALLS)
def test_tensors_on_several_devices_are_refused(names: str):
    with pytest.raises(ValueError, match=rf'^{names} must be on one device, got .*meta'):
        CALLS[names]()


def test_images_on_another_device_than_the_tokenizer():
    from dht_mm.tokenizer import DHTTokenizer

    tokenizer = DHTTokenizer().to(AWAY).eval()
    for grad in (True, False):
        with torch.set_grad_enabled(grad), pytest.raises(ValueError, match='^image, .* must be on one device, got cpu, meta, meta'):
            tokenizer(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize('backend', ['torch', 'auto'])
@pytest.mark.parametrize('wrong', [-1, 2, 2**31 - 1])
def test_parents_out_of_range_are_refused_and_not_written_to(wrong: int, backend: str):
    parent = torch.repeat_interleave(torch.arange(2), PARTITION.num_regions).int()
    parent[3] = wrong
    with ops.use_backend(backend), pytest.raises(ValueError, match=r'^parent must be in \[0, 2\)'):
        ops.united_mean(ROWS, OFFSETS, SIZE, parent, torch.full((2,), 108, dtype=torch.int32), 108)
    with ops.use_backend(backend), pytest.raises(ValueError, match=r'^parent must be in \[0, 2\)'):
        ops.unite_regions(LABELS, OFFSETS, SIZE, BBOX, parent, torch.arange(3, dtype=torch.int32))


@pytest.mark.parametrize('backend', ['torch', 'auto'])
def test_offsets_whose_difference_overflows_are_refused(backend: str):
    offsets = OFFSETS.clone()
    offsets[-1] = -2**31
    with ops.use_backend(backend), pytest.raises(ValueError, match='^labels must be in the range'):
        ops.soft_merge(LABELS, offsets, SIZE, BBOX, ROWS, 3)


@pytest.mark.parametrize('backend', ['torch', 'auto'])
@pytest.mark.parametrize('middle', [-2**31, 2**31 - 1])
def test_offsets_of_united_regions_that_do_not_rise_are_refused(backend: str, middle: int):
    offsets = torch.tensor([0, middle, 2]).int()
    with ops.use_backend(backend), pytest.raises(ValueError, match=f'^merged_offsets must rise from 0, got .*{middle}'):
        ops.unite_regions(LABELS, OFFSETS, SIZE, BBOX, torch.zeros_like(SIZE), offsets)


@pytest.mark.parametrize('call, message', [
    (lambda: ops.region_mean(None, LABELS, OFFSETS, SIZE), 'features must be a torch.Tensor, got None'),
    (lambda: ops.pool_cells(ROWS, LABELS.bool(), OFFSETS, 4), 'labels and offsets must be integers'),
    (lambda: ops.soft_merge(LABELS, OFFSETS, SIZE, BBOX, ROWS, 3, seed=1), 'seed must be a torch.Tensor')])
def test_other_types_are_refused(call: Callable[[], object], message: str):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize('call, message', [
    (lambda: ops.position_histogram(LABELS, OFFSETS, 1.5, (2, 2)), 'total_regions must be an integer'),
    (lambda: ops.gradient_histogram(IMAGE[:, :2], LABELS, OFFSETS, len(SIZE), 10**6), 'bins must be at most 46340'),
    (lambda: ops.position_histogram(LABELS, OFFSETS, len(SIZE), (2, 2, 2)), 'grid must be two numbers'),
    (lambda: ops.hard_merge(IMAGE / 0, LABELS, OFFSETS, SIZE, 3), 'image must be finite'),
    (lambda: ops.soft_merge(LABELS, OFFSETS, SIZE, BBOX, ROWS / 0, 3), 'color must be finite'),
    (lambda: ops.pool_cells(ROWS[:0].half(), LABELS, OFFSETS, 4), 'tokens must have a row for each region'),
    (lambda: ops.region_pixels(IMAGE, LABELS, OFFSETS, BBOX, 2**31), 'patch_size must be at most 46340'),
    (lambda: ops.channel_moments(IMAGE[..., :0]), 'values must be a non-empty'),
    (lambda: ops.unite_regions(LABELS, OFFSETS, SIZE, BBOX, SIZE, OFFSETS - 10**6), 'merged_offsets must end in')])
def test_numbers_and_shapes_that_do_not_fit_are_refused(call: Callable[[], object], message: str):
    with pytest.raises(ValueError, match=message):
        call()
