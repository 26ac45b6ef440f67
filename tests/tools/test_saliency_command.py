"""The command finds coloured shapes on a background, in the folders of every data set, and says what it could not read."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from make_shapes_dataset import disc, polygon
from PIL import Image

from dht_mm.backbones import DHTViT

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2)
CONFIG = f"""
model = dict(backbone=dict(type='dht_mm.DHTViT', arch=dict({', '.join(f'{key}={value}' for key, value in ARCH.items())}),
                           patch_size=4, img_size=48, features=dict(inject_mean=False), tokenizer=dict(type='dht_mm.DHTTokenizer')))
"""
FOLDERS = [('images', 'ground_truth_mask'), ('DUTS-TE-Image', 'DUTS-TE-Mask'), ('DUT-OMRON-image', 'pixelwiseGT-new-PNG')]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / 'tools/analysis_tools'))
    import saliency
    return saliency


@pytest.fixture
def model(tmp_path: Path) -> list[str]:
    """Options that name a config and weights whose keys tell colours apart."""
    torch.manual_seed(0)
    backbone = DHTViT(None, ARCH, 48, 4, features=dict(inject_mean=False))
    torch.nn.init.zeros_(backbone.embedding.pos_embed.weight)
    torch.nn.init.zeros_(backbone.features.pixels.mask_token)
    torch.save(dict(state_dict={f'backbone.{key}': value for key, value in backbone.state_dict().items()}), tmp_path / 'model.pth')
    (tmp_path / 'config.py').write_text(CONFIG)
    return ['--config', str(tmp_path / 'config.py'), '--checkpoint', str(tmp_path / 'model.pth'), '--device', 'cpu']


def make_set(root: Path, images: str = 'images', masks: str = 'ground_truth_mask') -> Path:
    """Two pictures of a bluish ground with a red disc or polygon, 48 pixels wide and 40 high."""
    for folder in (images, masks):
        (root / folder).mkdir(parents=True)
    for seed, shape in enumerate((disc, polygon)):
        random = np.random.default_rng(seed)
        mask = shape(random, 48)[:40]
        picture = np.where(mask[..., None], (220, 30, 20), (30, 40, 200)) + random.integers(-8, 9, (40, 48, 1))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(root / images / f'{shape.__name__}.png')
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(root / masks / f'{shape.__name__}.png')
    return root


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize('folders', FOLDERS, ids=lambda folders: folders[0])
def test_shapes_are_found(tool, model: list[str], tmp_path: Path, folders: tuple[str, str], capsys: pytest.CaptureFixture):
    data = make_set(tmp_path / 'data', *folders)
    assert tool.main([str(data), *model, '--out-dir', str(tmp_path / 'out')]) == 0
    rows = rows_of(tmp_path / 'out/scores.csv')
    assert [row['image'] for row in rows] == ['disc.png', 'polygon.png'] and all(int(row['regions']) > 1 for row in rows)
    assert all(float(row['iou']) > 80 and float(row['accuracy']) > 98 for row in rows)
    for row in rows:
        truth = np.asarray(Image.open(data / folders[1] / row['image'])) > 0
        mask, values = (np.asarray(Image.open(tmp_path / f'out/{row["image"][:-4]}_{kind}.png')) for kind in ('mask', 'saliency'))
        iou = ((mask > 0) & truth).sum() / ((mask > 0) | truth).sum()
        assert {*np.unique(mask)} == {0, 255} and values.shape == (40, 48) and float(row['iou']) == pytest.approx(100 * iou)
    printed = capsys.readouterr()
    assert '2 images' in printed.out and all(name in printed.out for name in ('max_f', 'iou', 'accuracy')) and '2/2' in printed.err


def test_folder_of_images_alone_has_masks_and_no_scores(tool, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture):
    data = make_set(tmp_path / 'data', '.', 'elsewhere')
    options = ['--size', '24', '--by-size', '--images', '1', '--token-budget', '8', '--out-dir', str(tmp_path / 'out')]
    assert tool.main([str(data), *model, *options]) == 0
    row, = rows_of(tmp_path / 'out/scores.csv')
    assert [*row] == ['image', 'regions', 'seconds'] and int(row['regions']) <= 8 and 'max_f' not in capsys.readouterr().out
    assert Image.open(tmp_path / 'out/disc_mask.png').size == (48, 40)


def test_unreadable_files_are_named_and_the_rest_is_done(tool, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture):
    data = make_set(tmp_path / 'data')
    (data / 'ground_truth_mask/disc.png').write_text('no mask')
    assert tool.main([str(data), *model]) == 1
    printed = capsys.readouterr()
    assert '1 images' in printed.out and 'disc.png must be a mask' in printed.err


@pytest.mark.parametrize(('options', 'message'), [
    (['--size', '0'], '--size must be at least 1, got 0'), (['--block', '2'], '--block must be one of the 2 blocks, got 2'),
    (['--checkpoint', 'gone.pth'], 'gone.pth does not exist'), (['--config', 'gone.py'], 'gone.py'),
    (['--options', 'patch_size=8'], 'size mismatch')])
def test_bad_options_are_named(tool, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture, options: list[str], message: str):
    with pytest.raises(SystemExit) as stop:
        tool.main([str(make_set(tmp_path / 'data')), *model, *options])
    assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(('change', 'message'), [
    (lambda data: (data / 'ground_truth_mask/disc.png').unlink(), 'disc.png and 0 more masks do not exist'),
    (lambda data: [path.unlink() for path in (data / 'images').iterdir()], 'data must hold images')])
def test_incomplete_sets_are_refused(tool, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture, change, message: str):
    data = make_set(tmp_path / 'data')
    change(data)
    with pytest.raises(SystemExit):
        tool.main([str(data), *model])
    assert message in capsys.readouterr().err


def test_weights_of_another_model_are_refused(tool, model: list[str], tmp_path: Path, capsys: pytest.CaptureFixture):
    torch.save(dict(state_dict={'backbone.other': torch.ones(1)}), tmp_path / 'model.pth')
    with pytest.raises(SystemExit):
        tool.main([str(make_set(tmp_path / 'data')), *model])
    assert '--checkpoint must hold the weights of this backbone' in capsys.readouterr().err
