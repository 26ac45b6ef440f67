"""The ImageNet recipes run one after another by mmpretrain's own scripts, each on the weights of the one before it.

The data are photographs in ImageNet's layout, the networks two thin blocks; everything else is as in the configs.
"""

import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from config_runs import ROOT, find, losses, run, toolkit_script

TRAIN, TEST = (toolkit_script('mmpretrain', name) for name in ('train.py', 'test.py'))
CONVERTER = ROOT / 'tools/model_converters/vit_to_dht.py'
CLASSES, IMAGES = 2, 4
SHORT = ['train_cfg.max_epochs=1', 'default_hooks.logger.interval=1', 'train_dataloader.batch_size=4',
         'train_dataloader.num_workers=1']
SMALL = ['val_dataloader.num_workers=1', 'test_dataloader.num_workers=1',
         'model.backbone.arch._delete_=True', 'model.backbone.arch.embed_dims=32',
         'model.backbone.arch.num_layers=2', 'model.backbone.arch.num_heads=2']
HEAD = ['model.head.in_channels=32']
TOKENIZER = [f'model.backbone.tokenizer.init_cfg.{option}' for option in (
    'checkpoint=data/pretrain/dht-tokenizer.pth', 'prefix=tokenizer.')]


@pytest.fixture(scope='module')
def workplace(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few images a class, and their labels, in ``data/imagenet``."""
    folder = tmp_path_factory.mktemp('imagenet')
    data = folder / 'data/imagenet'
    (data / 'meta').mkdir(parents=True)
    (folder / 'data/pretrain').mkdir()
    with zipfile.ZipFile(shared / 'data/imagenette2_128.zip') as archive:
        for split in ('train', 'val'):
            lines = archive.read(f'imagenette2_128/meta/{split}.txt').decode().splitlines()
            chosen = [line for label in range(CLASSES) for line in [one for one in lines if one.endswith(f' {label}')][:IMAGES]]
            (data / f'meta/{split}.txt').write_text('\n'.join(chosen))
            for name in (line.rpartition(' ')[0] for line in chosen):
                path = data / split / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(f'imagenette2_128/{split}/{name}'))
    return folder


def train(folder: Path, pattern: str, *options: str) -> tuple[Path, str]:
    """The checkpoint after an epoch of two steps, and the log."""
    config = find(pattern)
    output = run(folder, TRAIN, config, '--work-dir', config.stem, '--cfg-options', *SHORT, *options)
    assert len(losses(output)) == CLASSES * IMAGES / 4 and np.isfinite(losses(output)).all()
    return folder / config.stem / 'epoch_1.pth', output


def keep(checkpoint: Path, name: str) -> Path:
    """Put a checkpoint where the configs look for it."""
    return Path(shutil.copy(checkpoint, checkpoint.parents[1] / f'data/pretrain/{name}.pth'))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=False)['state_dict']


@pytest.fixture(scope='module')
def tokenizer(workplace: Path) -> Path:
    checkpoint, output = train(workplace, '^dht-tokenizer_8xb256')
    assert 'regions: ' in output
    return keep(checkpoint, 'dht-tokenizer')


@pytest.fixture(scope='module')
def scratch(workplace: Path, tokenizer: Path) -> Path:
    return keep(train(workplace, '^dht-vit-s_8xb256-400e', *SMALL, *HEAD, *TOKENIZER)[0], 'dht-vit-s_8xb256-400e_in1k-192px')


@pytest.fixture(scope='module')
def finetuned(workplace: Path, scratch: Path) -> tuple[Path, str]:
    checkpoint, output = train(workplace, '^dht-vit-s_8xb64-100e', *SMALL, *HEAD)
    return keep(checkpoint, 'dht-vit-s_8xb64-100e_in1k-224px'), output


def test_scratch_starts_from_the_pretrained_tokenizer(tokenizer: Path, scratch: Path):
    """Two steps of warm-up move weights little; batch norm's statistics stay as they were trained."""
    before, after = weights(tokenizer), weights(scratch)
    for key, value in before.items():
        exact = 'running' in key or 'num_batches' in key
        assert torch.allclose(after[f'backbone.{key}'].float(), value.float(), rtol=0, atol=0 if exact else 2e-3), key
    assert 'backbone.embedding.gradient_embed.weight' in after


def test_finetuning_resamples_the_positions_of_the_smaller_images(scratch: Path, finetuned: tuple[Path, str]):
    checkpoint, output = finetuned
    assert 'resampled from 16 x 16 to 24 x 24 cells' in output
    key = 'backbone.embedding.pos_embed.weight'
    before, after = weights(scratch)[key], weights(checkpoint)[key]
    assert (before.shape, after.shape) == ((32, 256), (32, 576))
    assert after.mean().item() == pytest.approx(before.mean().item() * (24 / 16)**2, rel=0.05, abs=1e-4)


def test_finetuned_model_is_tested(workplace: Path, finetuned: tuple[Path, str]):
    run(workplace, TEST, find('^dht-vit-s_8xb64-100e'), finetuned[0], '--work-dir', 'test', '--out', 'test.json', '--out-item', 'metrics',
        '--cfg-options', *SHORT, *SMALL, *HEAD)
    assert 0 <= json.loads((workplace / 'test.json').read_text())['accuracy/top1'] <= 100


def test_retrofit_starts_from_a_converted_vit_and_the_tokenizer(workplace: Path, tokenizer: Path):
    timm = pytest.importorskip('timm')
    torch.manual_seed(0)
    source = timm.create_model('deit3_small_patch16_224', depth=2, embed_dim=32, num_heads=2)
    torch.save(source.state_dict(), workplace / 'deit3.pth')
    run(workplace, CONVERTER, 'deit3.pth', 'data/pretrain/dht-vit-s_deit3-pre.pth', '--pos-grid', '16', '16')
    checkpoint, output = train(workplace, '^dht-vit-s_deit3-pre_8xb256-100e', *SMALL, *HEAD, *TOKENIZER)
    assert 'size mismatch' not in output and 'unexpected key' not in output
    missing = re.search(r'missing keys in source state_dict: (.*)', output).group(1).split(', ')
    assert all(key.startswith(('backbone.tokenizer.', 'backbone.features.pixels.')) for key in missing)
    before, after = weights(workplace / 'data/pretrain/dht-vit-s_deit3-pre.pth'), weights(checkpoint)
    for key, value in before.items() | {f'backbone.{key}': value for key, value in weights(tokenizer).items()}.items():
        assert torch.allclose(after[key].float(), value.float(), atol=1e-4), key


def test_linear_evaluation_trains_the_classifier_alone(workplace: Path, finetuned: tuple[Path, str]):
    options = ['model.backbone.frozen_stages=2', 'model.neck.input_features=32']
    after = weights(train(workplace, '^dht-vit-s_8xb512-linear', *SMALL, *HEAD, *options)[0])
    backbone = {key: value for key, value in weights(finetuned[0]).items() if key.startswith('backbone.')}
    assert backbone and all(torch.equal(after[key], value) for key, value in backbone.items())


def test_nearest_neighbours_are_evaluated(workplace: Path, finetuned: tuple[Path, str]):
    run(workplace, TEST, find('^dht-vit-s_8xb64-knn'), finetuned[0], '--work-dir', 'knn', '--out', 'knn.json', '--out-item', 'metrics',
        '--cfg-options', 'model.database.num_workers=1', *SMALL[1:])
    assert 0 <= json.loads((workplace / 'knn.json').read_text())['accuracy/top1'] <= 100
