"""Weights are found in every checkpoint of this project, and nothing that a file carries is run."""

import os
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dht_mm.tokenizer import DHTTokenizer, GridTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer, read_state_dict
from dht_mm.tokenizer.pretrainer import TokenizerPretrainer


def tokenizer(seed: int) -> DHTTokenizer:
    torch.manual_seed(seed)
    return DHTTokenizer()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope='module')
def weights() -> dict[str, Tensor]:
    return tokenizer(1).state_dict()


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def with_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in weights.items()}


@pytest.mark.parametrize('prefix', ['', 'tokenizer.', 'backbone.tokenizer.', 'module.backbone.tokenizer.'])
@pytest.mark.parametrize('inside', [False, True])
def test_weights_are_found_under_any_prefix(tmp_path: Path, weights: dict[str, Tensor], prefix: str, inside: bool):
    state = with_prefix(weights, prefix)
    if prefix:
        state |= {'backbone.blocks.0.weight': torch.ones(1), 'decode_head.color.weight': torch.ones(1)}
    path = save(tmp_path / 'a.pth', dict(state_dict=state, meta=dict(epoch=1)) if inside else state)
    target = tokenizer(2)
    assert not same(target.state_dict(), weights)
    load_tokenizer(target, path)
    assert same(target.state_dict(), weights)


def test_checkpoint_with_the_message_hub_of_mmengine(tmp_path: Path, weights: dict[str, Tensor]):
    hub = MessageHub.get_instance('test_checkpoint')
    for value in (1.0, 0.5):
        hub.update_scalar('train/loss', value)
    hub.update_info_dict(dict(epoch=2, best=np.float64(0.5), palette=np.zeros((2, 3), np.uint8)))
    path = save(tmp_path / 'a.pth', dict(state_dict=OrderedDict(weights), message_hub=hub.state_dict()))
    with pytest.raises(Exception, match='(?i)weights.?only'):
        torch.load(path, weights_only=True)
    assert same(read_state_dict(path), weights)


def test_checkpoint_that_a_runner_saved(tmp_path: Path):
    model = TokenizerPretrainer(tokenizer=tokenizer(1))
    images = [dict(inputs=torch.rand(3, 8, 8)) for _ in range(2)]
    runner = Runner(
        model, str(tmp_path), train_dataloader=DataLoader(images, batch_size=2), train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-2)), experiment_name='test_checkpoint_that_a_runner_saved')
    runner.train()
    target = tokenizer(2)
    load_tokenizer(target, tmp_path / 'epoch_1.pth')
    assert same(target.state_dict(), model.tokenizer.state_dict())


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


class CallableTrap(Trap):
    """The same by way of a module that torch does not block by name."""

    def __reduce__(self) -> tuple:
        import subprocess
        return subprocess.getoutput, (self.command,)


@pytest.mark.parametrize('trap', [Trap, CallableTrap])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, weights: dict[str, Tensor], trap: type):
    path = save(tmp_path / 'a.pth', dict(state_dict=weights, meta=trap(f'touch {tmp_path / "run"}')))
    with suppress(ValueError):  # refusing the file is as good as reading past the trap
        read_state_dict(path)
    assert not (tmp_path / 'run').exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / 'run').exists(), 'the trap itself does not work'


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match='none.pth does not exist'):
        load_tokenizer(tokenizer(0), tmp_path / 'none.pth')


def test_file_that_is_no_checkpoint_is_named(tmp_path: Path, weights: dict[str, Tensor]):
    (tmp_path / 'empty.pth').touch()
    (tmp_path / 'text.pth').write_text('no checkpoint')
    content = save(tmp_path / 'whole.pth', weights).read_bytes()
    (tmp_path / 'cut.pth').write_bytes(content[:len(content) // 2])
    for name in ('empty.pth', 'text.pth', 'cut.pth'):
        with pytest.raises(ValueError, match=f'written by torch.save, but .*{name} cannot be read'):
            load_tokenizer(tokenizer(0), tmp_path / name)


@pytest.mark.parametrize('content', [[1, 2], torch.ones(2), dict(state_dict=[torch.ones(1)])])
def test_file_of_something_else_is_named(tmp_path: Path, content: object):
    with pytest.raises(ValueError, match='must hold a dict of tensors'):
        load_tokenizer(tokenizer(0), save(tmp_path / 'a.pth', content))


def test_file_without_a_tokenizer_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match='a.pth has none of them'):
        load_tokenizer(tokenizer(0), save(tmp_path / 'a.pth', nn.Conv2d(1, 1, 1).state_dict()))


def test_missing_and_unexpected_weights_are_named(tmp_path: Path, weights: dict[str, Tensor]):
    state = with_prefix(weights, 'tokenizer.')
    state['tokenizer.colour.bias'] = state.pop('tokenizer.color.bias')
    with pytest.raises(ValueError, match=r"lacks \['color.bias'\] and adds \['colour.bias'\]"):
        load_tokenizer(tokenizer(0), save(tmp_path / 'a.pth', state))


def test_weights_of_another_size_are_named_and_nothing_is_loaded(tmp_path: Path, weights: dict[str, Tensor]):
    path = save(tmp_path / 'a.pth', DHTTokenizer(hidden_channels=4).state_dict())
    target = tokenizer(1)
    with pytest.raises(ValueError, match=r'projection.pixel.conv.weight is \(4, 3, 1, 1\) and not \(8, 3, 1, 1\)'):
        load_tokenizer(target, path)
    assert same(target.state_dict(), weights)


def test_two_tokenizers_in_one_file_are_named(tmp_path: Path, weights: dict[str, Tensor]):
    state = with_prefix(weights, 'teacher.tokenizer.') | with_prefix(weights, 'student.tokenizer.')
    with pytest.raises(ValueError, match=r"prefixes \['student.tokenizer.', 'teacher.tokenizer.'\]"):
        load_tokenizer(tokenizer(0), save(tmp_path / 'a.pth', state))


@pytest.mark.parametrize('prefix', ['', 'tokenizer.'])
def test_published_layout_is_recognised(tmp_path: Path, prefix: str):
    state = {f'{prefix}conv.ds.0.weight': torch.ones(8, 3, 1, 1), f'{prefix}linear.weight': torch.ones(3, 8)}
    with pytest.raises(ValueError, match='convert it with .*dht_reference_to_mm.py'):
        load_tokenizer(tokenizer(0), save(tmp_path / 'a.pth', state))


def test_tokenizer_without_weights_is_named(tmp_path: Path, weights: dict[str, Tensor]):
    with pytest.raises(ValueError, match='a GridTokenizer has none'):
        load_tokenizer(GridTokenizer(4), save(tmp_path / 'a.pth', weights))
