"""The published files survive the way through our layout and back, bit for bit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dht_mm.converters import convert_encoder, convert_tokenizer, export_encoder, export_tokenizer

NAMES = [f'encoder_{head}_{image}' for head in ('classifier', 'dense') for image in ('cityhydrant_64x64_p8_pos8', 'cowbike_64x96_p8_pos14')]


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) and value.dtype == expected[key].dtype for key, value in found.items())


@pytest.fixture(params=NAMES)
def encoder_weights(shared: Path, request: pytest.FixtureRequest) -> dict[str, Tensor]:
    arrays = np.load(shared / f'golden/{request.param}.npz')
    assert json.loads(str(arrays['config']))
    return {key.removeprefix('param.'): torch.from_numpy(arrays[key]) for key in arrays.files if key.startswith('param.')}


def test_encoder_comes_back(encoder_weights: dict[str, Tensor]):
    export = export_encoder(convert_encoder(encoder_weights).state_dict)
    assert_equal(export.state_dict, encoder_weights)
    assert export.filled.keys() <= {'tokenizer.gradient.kernel', 'tokenizer.gradact.lmbda'} and not export.unused


def test_linear_head_of_a_segmenter_comes_back(shared: Path):
    arrays = np.load(shared / f'golden/{NAMES[0]}.npz')
    weights = {key[6:]: torch.from_numpy(arrays[key]) for key in arrays.files if key.startswith('param.')}
    assert_equal(export_encoder(convert_encoder(weights, head='seg').state_dict).state_dict, weights)


def test_tokenizer_comes_back(shared: Path):
    weights = torch.load(shared / 'weights/r2v.pth', map_location='cpu', weights_only=True)
    export = export_tokenizer(convert_tokenizer(weights).state_dict)
    assert_equal(export.state_dict, weights)
    assert export.report().count('\n') == len(weights) - 1


@pytest.fixture
def our_weights(shared: Path) -> dict[str, Tensor]:
    arrays = np.load(shared / f'golden/{NAMES[0]}.npz')
    return convert_encoder({key[6:]: torch.from_numpy(arrays[key]) for key in arrays.files if key.startswith('param.')}).state_dict


@pytest.mark.parametrize('key, value, message', [
    ('backbone.embedding.register_tokens', torch.zeros(4, 64), r"adds \['backbone.embedding.register_tokens'\]"),
    ('backbone.encoder.blocks.0.attn.q_norm.weight', torch.ones(16), r"adds \['backbone.encoder.blocks.0.attn.q_norm.weight'\]"),
    ('backbone.encoder.blocks.0.mlp.fc2.weight', torch.zeros(64, 128), 'the published layout has no SwiGLU'),
    ('backbone.encoder.blocks.1.attn.qkv.bias', None, r"dht_mm layout, but lacks \['backbone.encoder.blocks.1.attn.qkv.bias'\]"),
    ('backbone.embedding.patch_embed.weight', None, 'must have backbone.embedding.patch_embed.weight, but has not'),
])
def test_what_the_published_layout_has_no_place_for_is_named(
        our_weights: dict[str, Tensor], key: str, value: Tensor | None, message: str):
    if value is None:
        del our_weights[key]
    else:
        our_weights[key] = value
    with pytest.raises(ValueError, match=message):
        export_encoder(our_weights)
