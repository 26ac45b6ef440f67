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
