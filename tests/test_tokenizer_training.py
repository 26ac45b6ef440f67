"""A folder of photographs becomes a tokenizer: the recipe of the shipped ones, smaller, by mmpretrain's own script."""

from pathlib import Path

import numpy as np
import pytest
import torch
from config_runs import ROOT, find, losses, run
from PIL import Image

from dht_mm.losses import reconstruction_loss
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer

data = pytest.importorskip('skimage.data')
STEPS, SIZE = 40, 48
CROP = 'train_dataloader.dataset.dataset.pipeline.1.scale'
OPTIONS = [f'train_cfg.max_iters={STEPS}', f'param_scheduler.1.end={STEPS}', f'custom_hooks.0.interval={STEPS}',
           'custom_hooks.0.num_samples=64', f'default_hooks.checkpoint.interval={STEPS}', 'default_hooks.logger.interval=1',
           'train_dataloader.batch_size=8', 'train_dataloader.num_workers=1', f'{CROP}={SIZE}', 'model.tokenizer.compactness=0.01']


@pytest.fixture(scope='module')
def training(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The tokenizer that was trained on two photographs, and the log."""
    folder = tmp_path_factory.mktemp('training')
    (folder / 'data/photos').mkdir(parents=True)
    for name in ('chelsea', 'coffee'):
        Image.fromarray(getattr(data, name)()).save(folder / f'data/photos/{name}.png')
    output = run(folder, ROOT / 'tools/train.py', find('^dht-tokenizer_1xb16'), '--work-dir', 'run', '--cfg-options', *OPTIONS)
    run(folder, ROOT / 'tools/model_converters/extract_tokenizer.py', f'run/iter_{STEPS}.pth', 'tokenizer.pth')
    return folder / 'tokenizer.pth', output


def test_loss_falls_to_a_third(training: tuple[Path, str]):
    history = losses(training[1])
    assert len(history) == STEPS
    assert np.mean(history[-5:]) < np.mean(history[:5]) / 3


def test_statistics_are_taken_anew_at_the_end(training: tuple[Path, str]):
    assert '3 BN found, run 8 iters' in training[1]
    state = torch.load(training[0], weights_only=True)['state_dict']
    counts = {int(value) for name, value in state.items() if name.endswith('num_batches_tracked')}
    assert counts == {STEPS + 8}


@torch.no_grad()
def test_a_photograph_that_was_not_seen_is_rebuilt(training: tuple[Path, str]):
    """In evaluation, with running statistics: at most a fifth of the error of random weights, a quarter of that of one colour."""
    image = torch.from_numpy(data.astronaut()[:128, 128:256].copy()).permute(2, 0, 1)[None] / 127.5 - 1
    errors = []
    for path in (None, training[0]):
        torch.manual_seed(0)
        tokenizer = DHTTokenizer(compactness=0.01).eval()
        if path is not None:
            load_tokenizer(tokenizer, path)
        errors.append(float(reconstruction_loss(image, tokenizer(image))))
    assert errors[1] < errors[0] / 5 and errors[1] < image.var((2, 3)).sum() / 4
