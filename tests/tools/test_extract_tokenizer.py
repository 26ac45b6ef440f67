"""The command takes a tokenizer out of a model's checkpoint."""

from pathlib import Path

import pytest
import torch
from extract_tokenizer import main

from dht_mm.tokenizer import DHTTokenizer


def test_weights_are_those_of_the_model_without_prefix(tmp_path: Path, capsys: pytest.CaptureFixture):
    tokenizer = DHTTokenizer()
    state = {f'backbone.tokenizer.{key}': value for key, value in tokenizer.state_dict().items()}
    torch.save(dict(state_dict=state | dict(other=torch.zeros(9)), optimizer=[1]), tmp_path / 'model.pth')
    assert main([str(tmp_path / 'model.pth'), str(tmp_path / 'new/tokenizer.pth')]) == 0
    found = torch.load(tmp_path / 'new/tokenizer.pth', weights_only=True)['state_dict']
    assert found.keys() == tokenizer.state_dict().keys()
    assert all(torch.equal(value, found[key]) for key, value in tokenizer.state_dict().items())
    assert 'tokenizer.pth: ' in capsys.readouterr().out


def test_a_file_without_a_tokenizer_is_named_and_nothing_written(tmp_path: Path, capsys: pytest.CaptureFixture):
    torch.save(dict(other=torch.zeros(9)), tmp_path / 'model.pth')
    assert main([str(tmp_path / 'model.pth'), str(tmp_path / 'tokenizer.pth')]) == 1
    assert 'model.pth: nothing written' in capsys.readouterr().err and not (tmp_path / 'tokenizer.pth').exists()
