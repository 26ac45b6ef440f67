"""The embedding is one linear map of all features, with class tokens and an optional norm."""

import pytest
import torch
import torch.nn.functional as F
from partitions import random_case

from dht_mm.embedding import RegionEmbedding, split

DIMS = dict(pixels=6, position=4, gradient=3, form=5)


def make_rows(partition, dims):
    return [torch.randn(partition.total_regions, size) for size in dims.values()]


@pytest.mark.parametrize('further', [(), ('gradient',), ('form',), ('gradient', 'form')])
def test_groups_make_one_linear_map(further: tuple[str, ...]):
    _, partition = random_case()
    dims = {name: DIMS[name] for name in ('pixels', 'position', *further)}
    embedding, rows = RegionEmbedding(dims, 8), make_rows(partition, dims)
    if 'form' in further:
        torch.nn.init.normal_(embedding.form_embed.weight)
    weights = [getattr(embedding, f'{group}_embed').weight for group in ('patch', 'pos', *further)]
    prefix, regions = split(embedding(rows, partition), partition, 1)
    assert torch.allclose(regions, F.linear(torch.cat(rows, 1), torch.cat(weights, 1), embedding.patch_embed.bias), atol=1e-6)
    assert torch.equal(prefix, embedding.cls_token.expand(2, -1, -1))


def test_without_class_token():
    _, partition = random_case()
    embedding = RegionEmbedding(DIMS, 8, with_cls_token=False)
    assert embedding(make_rows(partition, DIMS), partition).shape == (partition.total_regions, 8)
    assert 'cls_token' not in embedding.state_dict()


def test_pre_norm_normalises_all_tokens():
    _, partition = random_case()
    rows = make_rows(partition, DIMS)
    tokens = RegionEmbedding(DIMS, 8, pre_norm=True)(rows, partition)
    assert torch.allclose(tokens.mean(1), torch.zeros(()), atol=1e-6)
    assert len(tokens) == partition.total_regions + 2


def test_form_has_no_say_at_first():
    assert not RegionEmbedding(DIMS, 8).form_embed.weight.any()


def test_every_parameter_gets_a_gradient():
    _, partition = random_case()
    embedding = RegionEmbedding(DIMS, 8, pre_norm=True)
    embedding(make_rows(partition, DIMS), partition).square().sum().backward()
    assert all(parameter.grad.any() for parameter in embedding.parameters())
