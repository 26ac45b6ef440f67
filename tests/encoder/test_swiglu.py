"""The gated MLP is mmpretrain's, which follows DINOv2."""

import pytest
import torch

from dht_mm.encoder import SwiGLU


@pytest.mark.parametrize('channels', [24, 100, 6144])
def test_swiglu_is_mmpretrains(channels: int):
    utils = pytest.importorskip('mmpretrain.models.utils')
    torch.manual_seed(0)
    theirs, ours = utils.SwiGLUFFNFused(6, channels), SwiGLU(6, channels)
    weights = theirs.state_dict()
    ours.load_state_dict({key.replace('w12', 'fc1').replace('w3', 'fc2'): value for key, value in weights.items()})
    x = torch.randn(5, 6)
    assert torch.allclose(x + ours(x, torch.nn.Identity()), theirs(x), atol=1e-6)


def test_giant_has_4096_hidden_dimensions():
    with torch.device('meta'):
        assert SwiGLU(1536, 6144).fc2.in_features == 4096
