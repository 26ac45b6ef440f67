"""Which side of the cut is salient, and its exact masks."""

import pytest
import torch

from dht_mm.backbones import DHTViT
from dht_mm.saliency import paint_saliency, region_keys, token_cut
from dht_mm.structures import Partition
from dht_mm.tokenizer import GridTokenizer

GROUPS = torch.tensor([[0.0, 1], [0.1, 1], [1, 0], [0.1, 0.9], [0, 1.1]])  # one token unlike the four others


def test_smaller_group_is_salient():
    saliency = token_cut(GROUPS)
    assert saliency.foreground.tolist() == [False, False, True, False, False]
    assert saliency.values[2] == 1 and saliency.values[[0, 1, 3, 4]].max() < 0.01 and saliency.values.dtype == torch.float32


def test_counted_by_size_it_is_the_cut_of_the_pixels():
    """A token of n pixels is n tokens of one: the graph is the same, and so are the values."""
    size = torch.tensor([2, 1, 9, 3, 1])
    features = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    by_size, pixels = token_cut(features, size, 0.1), token_cut(features.repeat_interleave(size, 0), None, 0.1)
    assert torch.allclose(by_size.values.repeat_interleave(size), pixels.values, atol=1e-5)
    assert torch.equal(by_size.foreground.repeat_interleave(size), pixels.foreground)


def test_sizes_decide_which_side_is_the_smaller():
    assert token_cut(GROUPS, torch.tensor([1, 1, 90, 1, 1])).foreground.tolist() == [True, True, False, True, True]


@pytest.mark.parametrize('features', [torch.ones(1, 3), torch.ones(7, 3)])
def test_nothing_stands_out_among_equals(features: torch.Tensor):
    saliency = token_cut(features)
    assert not saliency.values.any() and not saliency.foreground.any()


def test_order_of_tokens_does_not_matter():
    features, order = torch.randn(30, 4, generator=torch.Generator().manual_seed(1)), torch.randperm(30)
    one, other = token_cut(features), token_cut(features[order])
    assert torch.allclose(one.values[order], other.values, atol=1e-6) and torch.equal(one.foreground[order], other.foreground)


def test_each_image_is_cut_alone_and_painted_by_its_regions():
    labels = torch.tensor([[[0, 0, 1], [0, 2, 2]], [[0, 1, 1], [0, 1, 1]]])
    partition = Partition.from_labels(labels, torch.zeros(2, 1, 2, 3))
    features = torch.tensor([[1.0, 0], [0, 1], [1, 0.1], [1, 0], [1, 0]])
    painted = paint_saliency(features, partition)
    assert painted.foreground.int().tolist() == [[[0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]
    assert painted.values[0, 0, 2] == 1 and painted.values.shape == (2, 2, 3)
    with pytest.raises(ValueError, match='R = 5 regions'):
        paint_saliency(features[:4], partition)


def test_refuses_another_number_of_sizes():
    with pytest.raises(ValueError, match='size must be .* N = 5'):
        token_cut(GROUPS, torch.ones(4))


def make_backbone(out_type: str = 'tokens') -> DHTViT:
    torch.manual_seed(0)
    return DHTViT(GridTokenizer(4), dict(embed_dims=8, num_layers=2, num_heads=2), 8, 4, out_type=out_type).eval()


def test_keys_are_those_that_the_attention_reads():
    backbone, images = make_backbone(), torch.randn(2, 3, 8, 12)
    first = backbone.encoder.blocks[0]
    read = []
    hook = first.register_forward_hook(lambda module, inputs, output: read.append(inputs[0]))
    keys, partition = region_keys(backbone, images, 0)
    hook.remove()
    expected = first.attn.qkv(first.norm1(read[0]))[:, 8:16]
    kept = torch.tensor([*range(1, 7), *range(8, 14)])  # without the class tokens
    assert torch.allclose(keys, expected[kept]) and partition.total_regions == 12 and not keys.requires_grad
    assert not torch.allclose(keys, region_keys(backbone, images)[0])


def test_keys_need_a_backbone_that_gives_tokens():
    with pytest.raises(TypeError, match="out_type='tokens', but gives tuple"):
        region_keys(make_backbone('cls_token'), torch.randn(1, 3, 8, 8))
