"""The command converts files of plain ViTs, reports every key, and writes nothing when something is wrong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from vit_to_dht import main

from dht_mm.backbones import DHTViT
from dht_mm.tokenizer import GridTokenizer

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'tools/model_converters/vit_to_dht.py'


@pytest.fixture(scope='module')
def vit() -> nn.Module:
    torch.manual_seed(0)
    timm = pytest.importorskip('timm')
    return timm.create_model('deit3_small_patch16_224', depth=2, embed_dim=64, num_heads=1, img_size=96).eval()


@pytest.fixture
def source(vit: nn.Module, tmp_path: Path) -> Path:
    torch.save(vit.state_dict(), tmp_path / 'vit.pth')
    return tmp_path / 'vit.pth'


def model_of(output: str, path: Path) -> DHTViT:
    """The model with the printed options and the weights as mmengine loads them."""
    line, = (line for line in output.splitlines() if line.startswith('backbone=dict('))
    options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in ast.parse(line).body[0].value.keywords}
    model = DHTViT(GridTokenizer(options['patch_size']), **options, init_cfg=dict(
        type='Pretrained', checkpoint=str(path), prefix='backbone.'))
    model.init_weights()
    return model.eval()


@torch.no_grad()
def test_command_and_config_reproduce_the_source(vit: nn.Module, source: Path, tmp_path: Path):
    target = tmp_path / 'new/dht.pth'
    result = subprocess.run([sys.executable, SCRIPT, source, target, '--from', 'timm'], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert f'{source} (timm layout), 0 resampled, 0 filled in, 3 missing, 0 unused' in result.stdout
    images = torch.randn(2, 3, 96, 96)
    assert (model_of(result.stdout, target)(images)[0] - vit.forward_features(images)[:, 0]).abs().max() < 1e-4
    assert [path.name for path in target.parent.iterdir()] == ['dht.pth']


def test_sizes_can_be_changed(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    target = tmp_path / 'dht.pth'
    options = '--patch-size 8 --pos-grid 24 48 --pos-scale 32 --source-grid 6 6 --gradient'.split()
    assert main([str(source), str(target), *options]) == 0
    output = capsys.readouterr().out
    assert 'pos_embed -> backbone.embedding.pos_embed.weight (resampled 6x6 -> 24x48)' in output and '2 resampled' in output
    model = model_of(output, target)
    assert model.features.position.grid == (24, 48) and model.features.position.scale == 32 and model.patch_size == 8
    assert model.features.gradient is not None and not model.embedding.gradient_embed.weight.any()


def test_weights_under_model_are_found(vit: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture):
    torch.save(dict(model=vit.state_dict()), tmp_path / 'deit.pth')
    assert main([str(tmp_path / 'deit.pth'), str(tmp_path / 'dht.pth')]) == 0
    assert '(timm layout)' in capsys.readouterr().out


def without(weights: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name != key}


@pytest.mark.parametrize('change, message', [
    (lambda weights: None, 'vit.pth does not exist'),
    (lambda weights: b'', 'vit.pth cannot be read'),
    (lambda weights: [1], 'vit.pth holds a list'),
    (lambda weights: dict(epoch=1), 'must hold a state dict, by itself or under state_dict or model'),
    (lambda weights: dict(model=dict(epoch=1)), 'must hold a state dict, by itself or under state_dict or model'),
    (lambda weights: nn.Linear(1, 1).state_dict(), 'must have the layout of one of'),
    (lambda weights: without(weights, 'blocks.1.mlp.fc1.bias'), "lacks ['blocks.1.mlp.fc1.bias']"),
    (lambda weights: weights | dict(dist_token=torch.ones(1, 1, 64)), "adds ['dist_token']"),
    (lambda weights: weights | {'norm.bias': torch.full((64,), torch.inf)}, 'norm.bias must hold finite floats'),
])
def test_anything_unexpected_is_named_and_nothing_written(
        vit: nn.Module, change, message: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    source, target, content = tmp_path / 'vit.pth', tmp_path / 'dht.pth', change(dict(vit.state_dict()))
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif content is not None:
        torch.save(content, source)
    target.write_text('as it was')
    assert main([str(source), str(target)]) == 1
    assert message in capsys.readouterr().err and target.read_text() == 'as it was'
    assert {path.name for path in tmp_path.iterdir()} <= {'vit.pth', 'dht.pth'}


def test_truncated_file_is_named(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    source.write_bytes(source.read_bytes()[:-5000])
    assert main([str(source), str(tmp_path / 'dht.pth')]) == 1
    assert 'cannot be read' in capsys.readouterr().err and not (tmp_path / 'dht.pth').exists()
