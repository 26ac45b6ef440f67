"""The published layouts are converted key by key, and anything unexpected is an error that names it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dht_mm.converters import Conversion, convert_encoder, convert_tokenizer
from dht_mm.tokenizer import DHTTokenizer

Weights = dict[str, Tensor]


@pytest.fixture
def tokenizer_weights(shared: Path) -> Weights:
    return torch.load(shared / 'weights/r2v.pth', map_location='cpu', weights_only=True)


def golden_weights(shared: Path, name: str) -> tuple[Weights, dict]:
    arrays = np.load(shared / f'golden/{name}.npz')
    weights = {key.removeprefix('param.'): torch.from_numpy(arrays[key]) for key in arrays.files if key.startswith('param.')}
    return weights, json.loads(str(arrays['config']))


@pytest.fixture
def classifier_weights(shared: Path) -> Weights:
    return golden_weights(shared, 'encoder_classifier_cowbike_64x96_p8_pos14')[0]


@pytest.fixture
def dense_weights(shared: Path) -> Weights:
    return golden_weights(shared, 'encoder_dense_cityhydrant_64x64_p8_pos8')[0]


def account(conversion: Conversion) -> set[str]:
    """All keys of the source that the conversion says something about."""
    assert not conversion.mapped.keys() & conversion.unused.keys()
    targets = [target for targets in conversion.mapped.values() for target in targets]
    assert sorted(targets) == sorted(conversion.state_dict)
    assert all(key in conversion.report() for key in [*conversion.mapped, *conversion.unused, *targets])
    return conversion.mapped.keys() | conversion.unused.keys()


def test_tokenizer(tokenizer_weights: Weights):
    conversion = convert_tokenizer(tokenizer_weights)
    DHTTokenizer().load_state_dict(conversion.state_dict)
    assert account(conversion) == tokenizer_weights.keys()
    assert conversion.unused.keys() == {'gradact.lmbda', 'gradient.kernel'}
    for source, (target,) in conversion.mapped.items():
        assert torch.equal(conversion.state_dict[target], tokenizer_weights[source])
    assert conversion.mapped['conv.cv.4.running_var'] == ('projection.coarse.norm2.running_var',)


def test_classifier(classifier_weights: Weights):
    conversion = convert_encoder(classifier_weights)
    assert account(conversion) == classifier_weights.keys() and conversion.unused.keys() == {'tokenizer.gradient.kernel'}
    assert conversion.mapped['head.weight'] == ('head.fc.weight',)
    groups = conversion.mapped['embedder.proj.weight']
    assert [conversion.state_dict[group].shape[1] for group in groups] == [192, 196, 64]
    joined = torch.cat([conversion.state_dict[group] for group in groups], 1)
    assert torch.equal(joined, classifier_weights['embedder.proj.weight'])
    assert conversion.mapped['blocks.1.ls2.lambda_'] == ('backbone.encoder.blocks.1.ls2.gamma',)


def test_head_of_a_segmenter(dense_weights: Weights, classifier_weights: Weights):
    mapped = convert_encoder(dense_weights).mapped
    assert mapped['head.0.fc2.bias'] == ('decode_head.mlp.fc2.bias',)
    assert mapped['head.1.weight'] == ('decode_head.conv_seg.weight',)
    assert convert_encoder(classifier_weights, head='seg').mapped['head.bias'] == ('decode_head.conv_seg.bias',)
    with pytest.raises(ValueError, match="head must be 'seg' for an MLP head"):
        convert_encoder(dense_weights, head='cls')
    with pytest.raises(ValueError, match="head must be .* got 'map'"):
        convert_encoder(dense_weights, head='map')


def test_model_without_head_pre_norm_gradient_features_and_layer_scale(classifier_weights: Weights):
    weights = {key: value for key, value in classifier_weights.items() if not re.search('head|norm_pre|lambda_', key)}
    weights['embedder.proj.weight'] = weights['embedder.proj.weight'][:, :-64]
    conversion = convert_encoder(weights)
    assert account(conversion) == weights.keys() and 'tokenizer.gradact.lmbda' in conversion.unused
    assert [target.split('.')[-2] for target in conversion.mapped['embedder.proj.weight']] == ['patch_embed', 'pos_embed']


def test_grid_that_is_not_square_must_be_given(classifier_weights: Weights):
    with pytest.raises(ValueError, match=r'pos_grid must tell how the 452 columns .* got \(5, 5\)'):
        convert_encoder(classifier_weights, pos_grid=(5, 5))
    conversion = convert_encoder(classifier_weights, pos_grid=(7, 28))
    assert conversion.state_dict['backbone.embedding.pos_embed.weight'].shape[1] == 196
    conversion = convert_encoder(classifier_weights, pos_grid=(10, 26))  # 260 cells and no gradient features
    assert 'backbone.embedding.gradient_embed.weight' not in conversion.state_dict
    classifier_weights['embedder.proj.weight'] = classifier_weights['embedder.proj.weight'][:, :192 + 100]  # 10^2, or 6^2 + 8^2
    with pytest.raises(ValueError, match='pos_grid .* got None'):
        convert_encoder(classifier_weights)


def test_missing_and_unknown_keys_are_named(tokenizer_weights: Weights, classifier_weights: Weights):
    tokenizer_weights['linear.scale'] = tokenizer_weights.pop('linear.bias')
    with pytest.raises(ValueError, match=r"lacks \['linear.bias'\] and adds \['linear.scale'\]"):
        convert_tokenizer(tokenizer_weights)
    del classifier_weights['blocks.0.attn.proj.bias'], classifier_weights['blocks.1.ls1.lambda_']
    classifier_weights['blocks.2.norm3.weight'] = torch.ones(1)
    with pytest.raises(ValueError, match=r"lacks \['blocks.0.attn.proj.bias', 'blocks.1.ls1.lambda_', 'blocks.2.attn.*adds "
                                         r"\['blocks.2.norm3.weight'\]"):
        convert_encoder(classifier_weights)
    del classifier_weights['embedder.proj.weight']
    with pytest.raises(ValueError, match='must have embedder.proj.weight'):
        convert_encoder(classifier_weights)


def test_another_gradient_kernel_is_refused(tokenizer_weights: Weights):
    tokenizer_weights['gradient.kernel'] = tokenizer_weights['gradient.kernel'].mT
    with pytest.raises(ValueError, match='gradient.kernel must be the Scharr kernel'):
        convert_tokenizer(tokenizer_weights)


def test_source_is_not_changed(classifier_weights: Weights):
    before = {key: value.clone() for key, value in classifier_weights.items()}
    conversion = convert_encoder(classifier_weights)
    for value in conversion.state_dict.values():
        value.zero_()
    assert before.keys() == classifier_weights.keys()
    assert all(torch.equal(value, classifier_weights[key]) for key, value in before.items())
