"""Tokenizer pre-training: the loss reaches every weight, and the result loads into a tokenizer."""

import pytest
import torch
from mmengine.optim import OptimWrapper

from dht_mm.registry import MODELS
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer, GridTokenizer, TokenizerPretrainer


def images(size: int = 32) -> torch.Tensor:
    """Two images of a few flat patches with a little noise."""
    random = torch.Generator().manual_seed(0)
    patches = torch.randn(2, 3, 4, 4, generator=random)
    return torch.nn.functional.interpolate(patches, size=size) + 0.1 * torch.randn(2, 3, size, size, generator=random)


@pytest.fixture
def pretrainer() -> TokenizerPretrainer:
    torch.manual_seed(0)
    return MODELS.build(dict(type='dht_mm.TokenizerPretrainer', tokenizer=dict(type='dht_mm.DHTTokenizer')))


def test_loss_is_the_reconstruction_error_and_reaches_every_weight(pretrainer):
    losses = pretrainer(images(), mode='loss')
    assert set(losses) == {'loss_rec', 'regions'} and losses['loss_rec'] > 0
    losses['loss_rec'].backward()
    without = [name for name, value in pretrainer.named_parameters() if value.grad is None or not value.grad.isfinite().all()]
    assert not without


def test_logged_regions_are_the_mean_number_of_an_image(pretrainer):
    torch.manual_seed(0)
    partition = pretrainer(images())
    assert pretrainer(images(), mode='loss')['regions'] == partition.total_regions / 2


def test_training_steps_lower_the_loss(pretrainer):
    optim = OptimWrapper(torch.optim.AdamW(pretrainer.parameters(), lr=1e-2))
    history = []
    for _ in range(12):
        losses = pretrainer(images(), mode='loss')
        optim.update_params(losses['loss_rec'])
        history.append(losses['loss_rec'].item())
    assert history[-1] < 0.5 * history[0]


def test_forward_gives_the_partition(pretrainer):
    partition = pretrainer.eval()(images())
    assert isinstance(partition, Partition) and torch.equal(partition.labels, pretrainer.tokenizer(images()).labels)


def test_weights_load_into_a_tokenizer_by_init_cfg(pretrainer, tmp_path):
    torch.save(dict(state_dict=pretrainer.state_dict()), tmp_path / 'trained.pth')
    tokenizer = DHTTokenizer(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'trained.pth'), prefix='tokenizer.'))
    tokenizer.init_weights()
    for name, value in pretrainer.tokenizer.state_dict().items():
        assert torch.equal(tokenizer.state_dict()[name], value), name


def test_built_modules_are_taken_as_they_are():
    tokenizer = GridTokenizer(8)
    assert TokenizerPretrainer(tokenizer).tokenizer is tokenizer


def test_another_mode_is_refused(pretrainer):
    with pytest.raises(ValueError, match="mode must be 'tensor', 'loss' or 'predict', got 'other'"):
        pretrainer(images(), mode='other')
