"""mmsegmentation's own tools run our models unmodified: pictures, resuming, speed, complexity, test-time augmentation, label maps."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from config_runs import ROOT, find, run_here, toolkit_script
from PIL import Image

BASE = find('^dht-vit-toy_token-head')
THIN = """
model = dict(type={kind!r}, backbone=dict(arch=dict(_delete_=True, embed_dims=32, num_layers=1, num_heads=2)),
             decode_head=dict(in_channels=32))
# mmengine draws augmentations anew after resuming.
train_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', reduce_zero_label=True), dict(type='PackSegInputs')]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2, max_keep_ckpts=2))
train_cfg = dict(max_iters=4, val_interval=100)
"""


@pytest.fixture(scope='module')
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shapes as data, and thin copies of the toy config, with the usual segmentor and with ours."""
    folder = tmp_path_factory.mktemp('tools')
    script = ROOT / 'tools/demo/make_shapes_dataset.py'
    subprocess.run([sys.executable, script, folder / 'data/shapes', '--train', '4', '--val', '2'], check=True)
    for name, kind in (('usual', 'EncoderDecoder'), ('region', 'dht_mm.RegionSegmentor')):
        (folder / f'{name}.py').write_text(f'_base_ = {BASE.as_posix()!r}\n' + THIN.format(kind=kind))
    return folder


def run_tool(workplace: Path, name: str, folder: str, *arguments: str) -> Path:
    """Run a tool of mmsegmentation in the workplace with a folder of its own, which it gives."""
    run_here(workplace, toolkit_script('mmseg', name), *arguments, '--work-dir', folder)
    return workplace / folder


@pytest.fixture(scope='module')
def trained(workplace: Path) -> Path:
    """The folder of a run of four iterations, with checkpoints of the second and the last."""
    return run_tool(workplace, 'train.py', 'straight', 'usual.py')


def test_resumed_training_is_the_same(trained: Path, workplace: Path):
    (workplace / 'resumed').mkdir()
    shutil.copy(trained / 'iter_2.pth', workplace / 'resumed')
    (workplace / 'resumed/last_checkpoint').write_text('resumed/iter_2.pth')
    resumed = run_tool(workplace, 'train.py', 'resumed', 'usual.py', '--resume')
    one, other, before = (torch.load(path, weights_only=False) for path in (
        trained / 'iter_4.pth', resumed / 'iter_4.pth', trained / 'iter_2.pth'))
    assert one['state_dict'].keys() == other['state_dict'].keys()
    assert all(torch.equal(value, other['state_dict'][key]) for key, value in one['state_dict'].items())
    assert any(not torch.equal(value, before['state_dict'][key]) for key, value in one['state_dict'].items())
    steps = [{key: value['step'] for key, value in checkpoint['optimizer']['state'].items()} for checkpoint in (one, other)]
    assert steps[0] == steps[1] and all(step == 4 for step in steps[0].values())


def scores(folder: Path) -> dict[str, float]:
    return json.loads(next(folder.glob('*/*.json')).read_text())


@pytest.mark.parametrize('config', ['usual', 'region'])
def test_pictures_and_label_maps_are_written(trained: Path, workplace: Path, config: str):
    folder = run_tool(workplace, 'test.py', f'{config}_test', f'{config}.py', 'straight/iter_4.pth', '--show-dir', f'{config}_shown',
                      '--out', f'{config}_maps')
    assert 0 <= scores(folder)['mIoU'] <= 100
    # Ground truth and prediction, side by side over the image.
    shown = sorted((workplace / f'{config}_shown/vis_data/vis_image').iterdir())
    assert [path.name for path in shown] == ['test_0000.png_1.png', 'test_0001.png_2.png']
    pictures = [np.asarray(Image.open(path)) for path in shown]
    assert all(picture.shape == (128, 2 * 128, 3) and not np.array_equal(picture[:, :128], picture[:, 128:]) for picture in pictures)
    maps = [np.asarray(Image.open(path)) for path in sorted((workplace / f'{config}_maps').iterdir())]
    assert len(maps) == 2 and all(labels.shape == (128, 128) and 1 <= labels.min() and labels.max() <= 6 for labels in maps)


def test_label_maps_finer_than_the_input(trained: Path, workplace: Path):
    """The model sees half the size; labels, predictions and scores have the image's."""
    (workplace / 'finer.py').write_text("""
_base_ = './region.py'
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)),
            dict(type='LoadAnnotations', reduce_zero_label=True), dict(type='PackSegInputs')]
test_dataloader = dict(dataset=dict(pipeline=pipeline))
""")
    folder = run_tool(workplace, 'test.py', 'finer', 'finer.py', 'straight/iter_4.pth', '--out', 'finer_maps')
    assert 0 <= scores(folder)['mIoU'] <= 100
    for path in (workplace / 'finer_maps').iterdir():
        labels = np.asarray(Image.open(path))
        assert labels.shape == (128, 128) and np.array_equal(labels, labels[::2, ::2].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize('config', ['usual', 'region'])
def test_flips_and_scales_are_merged(trained: Path, workplace: Path, config: str):
    assert 0 <= scores(run_tool(workplace, 'test.py', f'{config}_tta', f'{config}.py', 'straight/iter_4.pth', '--tta'))['mIoU'] <= 100


def test_speed_is_measured(trained: Path, workplace: Path):
    """The tool wants 200 images, here of 32 by 32 pixels."""
    (workplace / 'small.py').write_text("""
_base_ = './region.py'
model = dict(data_preprocessor=dict(size=(32, 32)))
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', reduce_zero_label=True),
            dict(type='Resize', scale=(32, 32)), dict(type='PackSegInputs')]
test_dataloader = dict(dataset=dict(pipeline=pipeline))
""")
    (workplace / 'speed.py').write_text("""
_base_ = './small.py'
test_dataloader = dict(
    dataset=dict(_delete_=True, type='RepeatDataset', times=100, dataset={{_base_.test_dataloader.dataset}}))
""")
    folder = run_tool(workplace, 'analysis_tools/benchmark.py', 'speed', 'speed.py', 'straight/iter_4.pth')
    result = json.loads(next(folder.glob('fps_*.json')).read_text())
    assert result['average_fps'] > 0 and result['unit'] == 'img / s'


@pytest.mark.parametrize('config', ['usual', 'region'])
def test_complexity_is_counted(workplace: Path, capsys: pytest.CaptureFixture, config: str):
    run_here(workplace, toolkit_script('mmseg', 'analysis_tools/get_flops.py'), f'{config}.py', '--shape', '64', '96')
    printed = capsys.readouterr().out
    assert re.search(r'Input shape: \(64, 96\)\nFlops: [\d.]+[KMG]\nParams: [\d.]+K', printed)
