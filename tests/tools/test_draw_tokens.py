"""The command draws the tokens of a model from its config and weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dht_mm.registry import MODELS
from dht_mm.visualization import draw_heads, draw_tokens, read_image

BACKBONE = dict(type='dht_mm.DHTViT', arch=dict(embed_dims=16, num_layers=2, num_heads=2), patch_size=8, img_size=32)
PREPROCESSOR = dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0])


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / 'tools/analysis_tools'))
    import draw_tokens
    return draw_tokens


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / 'config.py'
    path.write_text(f"model = dict(type='EncoderDecoder', data_preprocessor=dict(**{PREPROCESSOR}), backbone=dict(**{BACKBONE}))")
    return path


@pytest.fixture
def backbone() -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS.build(BACKBONE).eval()


@pytest.mark.parametrize('prefix', ['backbone.', ''])
def test_pictures_are_those_of_the_model_on_the_image_as_its_config_normalises_it(tool, tmp_path, photo, config, backbone, prefix, capsys):
    torch.save(dict(state_dict={f'{prefix}{key}': value for key, value in backbone.state_dict().items()} | {'head.bias': torch.ones(1)}
                    if prefix else backbone.state_dict()), tmp_path / 'model.pth')
    out = tmp_path / 'out'
    (tmp_path / 'bad.png').write_text('no image')
    arguments = [config, tmp_path / 'model.pth', photo, tmp_path / 'bad.png', '--out-dir', out, '--block', 0, '--heads', '--point', 3, 4]
    assert tool.main([*map(str, arguments), '--device', 'cpu']) == 1
    image = read_image(photo)
    inputs = torch.from_numpy((image - np.float32(PREPROCESSOR['mean'])) / np.float32(PREPROCESSOR['std'])).permute(2, 0, 1)[None]
    with torch.no_grad():
        assert (read_image(out / 'photo_tokens.png') == draw_tokens(image, backbone, inputs, 0, (3, 4))).all()
        assert (read_image(out / 'photo_heads.png') == draw_heads(image, backbone, inputs, 0, (3, 4))).all()
    printed = capsys.readouterr()
    assert 'bad.png: skipped' in printed.err and printed.out.startswith('1 of 2 images drawn') and 'NAME_heads.png' in printed.out


@pytest.mark.parametrize('options, message', [
    (['--block', '2'], '--block must name one of the 2 blocks, got 2'), (['--size', '-1'], '--size must be at least 1, got -1')])
def test_bad_options_are_named(tool, tmp_path, photo, config, backbone, capsys, options, message):
    torch.save(backbone.state_dict(), tmp_path / 'model.pth')
    with pytest.raises(SystemExit) as stop:
        tool.main([str(config), str(tmp_path / 'model.pth'), str(photo), '--out-dir', str(tmp_path), *options])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_other_weights_and_other_models_are_named(tool, tmp_path, photo, config, checkpoint, capsys):
    def fail(*arguments: object) -> str:
        with pytest.raises(SystemExit):
            tool.main([*map(str, arguments), '--out-dir', str(tmp_path)])
        return capsys.readouterr().err

    assert 'CHECKPOINT must hold the weights of the backbone' in fail(config, checkpoint, photo)
    config.write_text("model = dict(backbone=dict(type='dht_mm.DHTTokenizer'))")
    assert 'CONFIG must have a dht_mm.DHTViT as its backbone, got a DHTTokenizer' in fail(config, checkpoint, photo)
    assert 'gone.py' in fail(tmp_path / 'gone.py', checkpoint, photo)


def test_a_point_outside_of_an_image_skips_it(tool, tmp_path, photo, config, backbone, capsys):
    torch.save(backbone.state_dict(), tmp_path / 'model.pth')
    assert tool.main([str(config), str(tmp_path / 'model.pth'), str(photo), '--out-dir', str(tmp_path), '--point', '90', '0']) == 1
    assert 'skipped, point must be (y, x) of a pixel of 24 rows and 32 columns' in capsys.readouterr().err
