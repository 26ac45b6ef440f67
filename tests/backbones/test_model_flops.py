"""FLOP counters agree with the formula of a vision transformer and with each other."""

from collections import Counter

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dht_mm.backbones import DHTViT, get_arch
from dht_mm.engine import flop_handles
from dht_mm.tokenizer import DHTTokenizer, GridTokenizer

SIZE, PATCH, CHANNELS = 224, 16, 3


def by_hand(arch: str, gradient: bool, out_type: str) -> Counter:
    """Multiply-adds of one image whose regions are the squares of a plain ViT."""
    dims, layers, _, hidden, _ = get_arch(arch)
    regions = (SIZE // PATCH)**2
    tokens, wanted = regions + 1, 1 if out_type == 'cls_token' else regions + 1
    rows = CHANNELS * PATCH**2 + regions + gradient * PATCH**2  # pixels, position and gradient
    after_attention = ((layers - 1) * tokens + wanted) * (dims * dims + 2 * dims * hidden)
    return Counter(attention=layers * 2 * tokens**2 * dims, samples=4 * regions * PATCH**2 * (CHANNELS + 1),
                   layers=regions * rows * dims + layers * tokens * 3 * dims**2 + after_attention)


def make_model(arch: str | dict, gradient: bool = False, out_type: str = 'raw', tokenizer: torch.nn.Module | None = None) -> DHTViT:
    tokenizer = GridTokenizer(PATCH) if tokenizer is None else tokenizer
    return DHTViT(tokenizer, arch, SIZE, PATCH, out_type=out_type, features=dict(gradient=gradient)).eval()


def by_torch(model: DHTViT, images: torch.Tensor) -> Counter:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    return Counter({str(op).split('.')[-1]: count / 2 for op, count in counter.get_flop_counts()['Global'].items()})


def by_mmengine(model: DHTViT, images: torch.Tensor) -> Counter:
    analysis = pytest.importorskip('mmengine.analysis')
    counter = analysis.FlopAnalyzer(model, (images,)).set_op_handle(**flop_handles())
    with torch.no_grad():
        return counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()


@pytest.mark.parametrize('arch, gradient, out_type', [('small', True, 'raw'), ('small', False, 'cls_token'), ('base', False, 'raw')])
def test_multiply_adds_are_those_of_the_formula(arch: str, gradient: bool, out_type: str):
    model, images, expected = make_model(arch, gradient, out_type), torch.zeros(1, CHANNELS, SIZE, SIZE), by_hand(arch, gradient, out_type)
    found = by_torch(model, images)
    assert found.pop('region_pixels') == expected['samples']
    assert found.pop('_scaled_dot_product_flash_attention_for_cpu') == expected['attention']
    assert found.keys() == {'mm', 'addmm'} and found.total() == expected['layers']
    if arch == 'small':
        found = by_mmengine(model, images)
        assert found['linear'] == expected['layers'] and found['region_pixels'] == expected['samples']
        assert found['scaled_dot_product_attention'] == expected['attention']


def test_counters_agree_on_the_tokenizer():
    torch.manual_seed(0)
    model = make_model(dict(embed_dims=16, num_layers=1, num_heads=2), tokenizer=DHTTokenizer(token_budget=dict(mode='soft')))
    images = torch.randn(1, CHANNELS, 32, 40)
    ours = ('project', 'exact_linear', 'build_hierarchy', 'region_mean', 'region_pixels')
    torchs, mmengines = by_torch(model, images), by_mmengine(model, images)
    assert all(torchs[op] == mmengines[op] > 0 for op in ours)
    pixels, coarse = 32 * 40, 80  # one coarse value for 4 x 4 pixels
    assert torchs['project'] == pixels * 8 * (3 + 4) + coarse * (4 * 12 * 32 + 4 * 32 * 8)


def test_training_counts_the_gradient_of_attention():
    images = torch.zeros(1, CHANNELS, SIZE, SIZE)
    model = make_model(dict(embed_dims=16, num_layers=2, num_heads=2)).train()
    with FlopCounterMode(display=False) as counter:
        model(images)[0].sum().backward()
    counts = {str(op): count for op, count in counter.get_flop_counts()['Global'].items()}
    forward = counts['aten._scaled_dot_product_flash_attention_for_cpu']
    assert forward == 2 * 2 * 2 * 197**2 * 16
    assert counts['aten._scaled_dot_product_flash_attention_for_cpu_backward'] == 5 * forward // 2
