"""Weights that are cast at once give the same bits, and are put back."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from dht_mm.encoder import Encoder, LayerScale, half_weights

OFFSETS = torch.tensor([0, 5, 8, 17], dtype=torch.int32)
KINDS = [dict(), dict(layer_scale_init_value=0), dict(qk_norm=True, qkv_bias=False), dict(ffn_type='swiglu')]


def make_encoder(device: str, **options) -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder(16, 3, 2, 24, **options)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    return encoder.to(device).eval()


def run(encoder: Encoder, device: str, dtype: torch.dtype) -> Tensor:
    x = torch.randn(17, 16, generator=torch.Generator().manual_seed(1)).to(device)
    with torch.autocast(device, dtype):
        return encoder(x, OFFSETS.to(device), (2,))[2]


def tensors(encoder: Encoder) -> list[int]:
    return [id(part) for part in (*encoder.modules(), *encoder.parameters())]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('options', KINDS)
@torch.no_grad()
def test_the_same_bits_and_the_same_weights_after(device: str, options: dict, dtype: torch.dtype):
    encoder = make_encoder(device, **options)
    if options.get('qk_norm'):
        encoder.blocks[1].mlp.fc2 = nn.Sequential(encoder.blocks[1].mlp.fc2)  # as adapters are put around a map
    expected, before = run(encoder, device, dtype), tensors(encoder)
    with torch.autocast(device, dtype), half_weights(encoder.blocks):
        found = run(encoder, device, dtype)
        assert all(block.attn.qkv.weight.dtype == block.mlp.fc1.weight.dtype == dtype for block in encoder.blocks)
        assert isinstance(encoder.blocks[0].ls1, LayerScale) == (dtype == torch.float16 and 'layer_scale_init_value' not in options)
        assert encoder.blocks[0].norm1.weight.dtype == torch.float32
    assert torch.equal(found, expected) and tensors(encoder) == before


@torch.no_grad()
def test_maps_of_another_dtype_or_with_made_up_weights_are_left_alone(device: str):
    encoder = make_encoder(device)
    prune.l1_unstructured(encoder.blocks[0].attn.proj, 'weight', 0.5)
    encoder.blocks[1].mlp.fc2.bfloat16()
    expected, before = run(encoder, device, torch.bfloat16), tensors(encoder)
    with torch.autocast(device, torch.bfloat16), half_weights(encoder.blocks):
        assert torch.equal(run(encoder, device, torch.bfloat16), expected)
        assert isinstance(encoder.blocks[0].ls1, LayerScale) and isinstance(encoder.blocks[1].ls2, LayerScale)
        assert isinstance(encoder.blocks[0].ls2, nn.Identity)
    assert tensors(encoder) == before


def test_nothing_changes_with_gradients_or_without_autocast(device: str):
    encoder = make_encoder(device)
    before = tensors(encoder)
    with torch.autocast(device, torch.bfloat16), half_weights(encoder.blocks):
        assert tensors(encoder) == before
    with torch.no_grad(), half_weights(encoder.blocks):
        assert tensors(encoder) == before


@torch.no_grad()
def test_weights_come_back_after_an_error(device: str):
    encoder = make_encoder(device)
    before = tensors(encoder)
    with pytest.raises(KeyError), torch.autocast(device, torch.bfloat16), half_weights(encoder.blocks):
        assert tensors(encoder) != before
        raise KeyError
    assert tensors(encoder) == before
