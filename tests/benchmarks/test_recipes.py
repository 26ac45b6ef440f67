"""benchmarks/superpixels/recipes.py changes what its recipes name, trains with it and scores the result, on made-up images."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / 'benchmarks/superpixels/recipes.py'
pytest.importorskip('mmpretrain')


@pytest.fixture
def script(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import recipes
    return recipes


def flat(config: dict, prefix: str = '') -> dict:
    """Every value of nested dicts and lists by its dotted name."""
    items = config.items() if isinstance(config, dict) else enumerate(config)
    return {name: leaf for key, value in items
            for name, leaf in (flat(value, f'{prefix}{key}.') if isinstance(value, (dict, list)) else {f'{prefix}{key}': value}).items()}


def test_a_recipe_changes_what_it_names_and_nothing_else(script: ModuleType):
    plain = flat(Config.fromfile(script.CONFIG).to_dict())
    for name, options in script.RECIPES.items():
        config = Config.fromfile(script.CONFIG)
        config.merge_from_dict(options)
        changed = {key: value for key, value in flat(config.to_dict()).items() if plain.get(key) != value}
        assert changed == options, name
    steps = {key for key, value in plain.items() if value == plain['train_cfg.max_iters']}
    assert steps == {'max_iters', *script.length(1)}  # all that the number of steps sets


def test_trains_and_scores(tmp_path: Path):
    random = np.random.default_rng(0)
    for folder in ('photos', 'images/train', 'groundTruth/train'):
        (tmp_path / folder).mkdir(parents=True)
    for index in range(4):
        blobs = np.kron(random.integers(0, 255, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        for folder in ('photos', 'images/train'):
            Image.fromarray(blobs).save(tmp_path / f'{folder}/{index}.png')
        np.savez(tmp_path / f'groundTruth/train/{index}.npz', segmentations=random.integers(1, 5, (2, 48, 64), np.uint16))
    tiny = ('train_cfg.max_iters=2', 'default_hooks.checkpoint.interval=2', 'custom_hooks.0.interval=2', 'custom_hooks.0.num_samples=4',
            'train_dataloader.batch_size=2', 'train_dataloader.num_workers=1', 'train_dataloader.dataset.dataset.pipeline.1.scale=32')
    command = [sys.executable, SCRIPT, '--photos', tmp_path / 'photos', '--data', tmp_path, '--out-dir', tmp_path / 'out', '--images', '2',
               '--regions', '12', '--recipes', 'feature scale 4', '--compactness', '0.1', '--cfg-options', *tiny]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    header, _, line = done.stdout.splitlines()
    cells = dict(zip(*([cell.strip() for cell in text.split('|')[1:-1]] for text in (header, line)), strict=True))
    assert (cells['recipe'], cells['compactness']) == ('feature scale 4', '0.1')
    assert 0 < float(cells['ASA at 12']) <= 1 and float(cells['L_rec']) > 0
    scale = torch.load(tmp_path / 'out/feature_scale_4_at_0.1.pth', weights_only=True)['projection.pixel.norm.weight']
    assert (scale - 4).abs().max() < 0.1  # two steps on from where it began


def test_what_takes_too_long_is_named_and_left_out(script: ModuleType, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')  # is set, and so put back
    monkeypatch.setattr(script, 'ProcessPoolExecutor', lambda *args, **options: ThreadPoolExecutor(1))
    monkeypatch.setattr(sys, 'argv', ['x', '--photos', str(tmp_path), '--data', str(tmp_path), '--out-dir', str(tmp_path / 'out'),
                                      '--recipes', 'rate 3e-2', '--compactness', '0.1', '--limit', '0'])
    script.main()
    out, error = capsys.readouterr()
    assert len(out.splitlines()) == 2 and "('rate 3e-2', 0.1): " in error and 'timed out after' in error
