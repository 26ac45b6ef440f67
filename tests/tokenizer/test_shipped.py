"""Trained tokenizers come with the package, load wherever weights are named, and cut images as trained ones do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner import load_checkpoint
from PIL import Image

from dht_mm.losses import reconstruction_loss
from dht_mm.registry import MODELS
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer, read_state_dict
from dht_mm.tokenizer.shipped import FOLDER, SCHEME, SHIPPED, resolve, shipped_tokenizer

NAMES = sorted(SHIPPED.values())


@pytest.fixture(params=SHIPPED)
def tokenizer(request) -> DHTTokenizer:
    tokenizer = DHTTokenizer(compactness=request.param)
    load_tokenizer(tokenizer, shipped_tokenizer(request.param))
    return tokenizer.eval()


def test_folder_holds_what_is_named_and_nothing_else():
    assert sorted(path.stem for path in FOLDER.iterdir()) == NAMES


@pytest.mark.parametrize('name', NAMES)
def test_files_are_small_and_hold_finite_tensors_alone(name: str):
    path = FOLDER / f'{name}.pth'
    state = torch.load(path, weights_only=True)['state_dict']
    assert path.stat().st_size < 40_000 and state.keys() == DHTTokenizer().state_dict().keys()
    assert all(value.isfinite().all() for value in state.values())


@pytest.mark.parametrize('name', NAMES)
def test_configs_and_checkpoint_loaders_know_the_address(name: str):
    expected = read_state_dict(SCHEME + name)
    built = MODELS.build(dict(type='dht_mm.DHTTokenizer', init_cfg=dict(type='Pretrained', checkpoint=SCHEME + name)))
    built.init_weights()
    loaded = DHTTokenizer()
    load_checkpoint(loaded, SCHEME + name, strict=True)
    for state in (built.state_dict(), loaded.state_dict()):
        assert all(torch.equal(state[key], value) for key, value in expected.items())


def test_a_compactness_gets_the_nearest():
    assert [shipped_tokenizer(value).removeprefix(SCHEME) for value in (0.0, 0.01, 0.05, 0.06, 0.1, 0.9)] == [
        'tokenizer_c001', 'tokenizer_c001', 'tokenizer_c001', 'tokenizer_c01', 'tokenizer_c01', 'tokenizer_c01']


def test_an_unknown_address_is_refused_and_the_known_ones_named():
    with pytest.raises(ValueError, match=r"one of \['dht_mm://tokenizer_c001', 'dht_mm://tokenizer_c01'\], got dht_mm://other"):
        load_tokenizer(DHTTokenizer(), 'dht_mm://other')
    with pytest.raises(ValueError, match='got dht_mm://../checkpoint'):
        resolve('dht_mm://../checkpoint')


@torch.no_grad()
def test_predicted_colours_rebuild_a_photograph(tokenizer: DHTTokenizer, shared: Path):
    """Of a picture that it was not trained on, at 224 x 224: better than each pixel's mean over the image by far."""
    photo = Image.open(shared / 'images/tennis.jpg').resize((224, 224), Image.Resampling.BICUBIC)
    picture = torch.from_numpy(np.array(photo)).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    image = ((picture - mean) / std)[None]
    partition = tokenizer(image)
    assert 100 < partition.total_regions < 1500
    assert reconstruction_loss(image, partition) < 0.2 * image.var((2, 3)).sum()
