"""Any tokenizer takes the place of the default one in a config of the backbone."""

from importlib.util import find_spec

import pytest
import torch

from dht_mm.registry import MODELS

TOKENIZERS = [
    dict(type='dht_mm.DHTTokenizer'), dict(type='dht_mm.GridTokenizer', patch_size=8),
    dict(type='dht_mm.QuadtreeTokenizer', num_regions=30),
    pytest.param(dict(type='dht_mm.SLICTokenizer', num_regions=30), marks=pytest.mark.skipif(
        find_spec('skimage') is None, reason='needs scikit-image'))]


@pytest.mark.parametrize('tokenizer', TOKENIZERS, ids=lambda config: config['type'].split('.')[1])
def test_backbone_runs_and_trains(tokenizer: dict):
    torch.manual_seed(0)
    model = MODELS.build(dict(type='dht_mm.DHTViT', tokenizer=tokenizer, arch=dict(embed_dims=16, num_layers=1, num_heads=2),
                              img_size=32, patch_size=8, out_type='tokens'))
    images = torch.randn(2, 3, 24, 32)
    tokens = model(images)
    assert tokens.tokens[-1].shape == (tokens.partition.total_regions, 16)
    assert model.inject_mean == (tokenizer['type'] == 'dht_mm.DHTTokenizer')
    tokens.tokens[-1].square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.embedding.patch_embed.parameters())
