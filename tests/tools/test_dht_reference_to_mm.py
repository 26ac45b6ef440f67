"""The command converts the published files, reports every key, and writes nothing when something is wrong."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'tools/model_converters/dht_reference_to_mm.py'
main = runpy.run_path(str(SCRIPT))['main']


@pytest.fixture
def encoder_file(shared: Path, tmp_path: Path) -> Path:
    arrays = np.load(shared / 'golden/encoder_dense_cowbike_64x96_p8_pos14.npz')
    path = tmp_path / 'encoder.pth'
    torch.save({key[6:]: torch.from_numpy(arrays[key]) for key in arrays.files if key.startswith('param.')}, path)
    return path


def test_published_tokenizer_loads_after_conversion(shared: Path, tmp_path: Path):
    source, target = shared / 'weights/r2v.pth', tmp_path / 'new/tokenizer.pth'
    result = subprocess.run([sys.executable, SCRIPT, source, target], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert 'conv.ds.0.weight -> projection.pixel.conv.weight' in result.stdout and '25 tensors from 25 keys' in result.stdout
    load_tokenizer(DHTTokenizer(), target)
    assert [path.name for path in target.parent.iterdir()] == ['tokenizer.pth']


def test_encoder_becomes_a_model_for_the_toolkits(encoder_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main([str(encoder_file), str(tmp_path / 'model.pth'), '--pos-grid', '14', '14']) == 0
    weights = torch.load(tmp_path / 'model.pth', weights_only=True)['state_dict']
    assert {key.split('.')[0] for key in weights} == {'backbone', 'decode_head'}
    assert 'head.0.fc1.weight -> decode_head.mlp.fc1.weight' in capsys.readouterr().out


@pytest.mark.parametrize('source', ['tokenizer', 'encoder'])
def test_there_and_back(source: str, shared: Path, encoder_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    original = shared / 'weights/r2v.pth' if source == 'tokenizer' else encoder_file
    assert main([str(original), str(tmp_path / 'ours.pth'), '--pos-grid', '14', '14']) == 0
    assert main([str(tmp_path / 'ours.pth'), str(tmp_path / 'back.pth'), '--back']) == 0
    found = torch.load(tmp_path / 'back.pth', weights_only=True)['state_dict']
    expected = torch.load(original, map_location='cpu', weights_only=True)
    assert found.keys() == expected.keys() and all(torch.equal(value, expected[key]) for key, value in found.items())
    assert 'gradient.kernel missing in the source, set to the Scharr kernel' in capsys.readouterr().out


@pytest.mark.parametrize('content, message', [
    (None, 'src.pth does not exist'),
    (b'', 'src.pth cannot be read'),
    (b'not a checkpoint', 'src.pth cannot be read'),
    (nn.Linear(1, 1).state_dict(), 'must have the published layout'),
    ([1, 2], 'src.pth holds a list'),
])
def test_bad_source_is_named_and_nothing_written(content: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    source, target = tmp_path / 'src.pth', tmp_path / 'dst.pth'
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif content is not None:
        torch.save(content, source)
    target.write_text('as it was')
    assert main([str(source), str(target)]) == 1
    assert message in capsys.readouterr().err and target.read_text() == 'as it was'


def test_folder_that_cannot_be_written_is_named(encoder_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / 'file').touch()
    assert main([str(encoder_file), str(tmp_path / 'file/model.pth')]) == 1
    assert str(tmp_path / 'file') in capsys.readouterr().err
