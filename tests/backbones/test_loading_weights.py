"""Weights find their place: from files and addresses, under a prefix, and from another position grid."""

import copy
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from mmengine.runner import load_checkpoint
from torch import Tensor

from dht_mm.backbones import DHTViT
from dht_mm.tokenizer import DHTTokenizer, GridTokenizer

KEY = 'embedding.pos_embed.weight'


def make_model(**options) -> DHTViT:
    sizes = dict(arch=dict(embed_dims=16, num_layers=2, num_heads=2), img_size=32, patch_size=8)
    return DHTViT(**dict(tokenizer=GridTokenizer(8)) | sizes | options)


def smooth_positions(grid: tuple[int, int], dims: int = 16) -> Tensor:
    """``[dims, y x]``, low waves over the unit square."""
    y, x = (torch.arange(side).add(0.5) / side for side in grid)
    waves = torch.arange(dims)[:, None, None] / dims
    return torch.cos(waves * y[:, None] + 2 * waves * x).flatten(1)


@pytest.mark.parametrize('grid', [(4, 4), (6, 6), (3, 5), (8, 4)])
def test_positions_of_another_grid_are_resampled_and_rescaled(grid: tuple[int, int]):
    """Each cell keeps the embedding of its place: weight times feature, which is ``(32 / sigma)^2`` for a region in one cell."""
    source, target = make_model(features=dict(pos_grid=12)).state_dict(), make_model(features=dict(pos_grid=grid))
    source[KEY] = smooth_positions((12, 12)) * (12 / 32)**2
    target.load_state_dict(source)
    found = target.embedding.pos_embed.weight * (32 / target.features.position.scale)**2
    assert torch.allclose(found, smooth_positions(grid), atol=0.02)
    assert source[KEY].shape == (16, 144)


def test_resampling_is_mmpretrains():
    resize_pos_embed = pytest.importorskip('mmpretrain.models.utils').resize_pos_embed
    source, target = make_model(), make_model(features=dict(pos_grid=(7, 3)))
    target.load_state_dict(source.state_dict())
    expected = resize_pos_embed(source.embedding.pos_embed.weight.T[None], (4, 4), (7, 3), num_extra_tokens=0)[0].T
    assert torch.allclose(target.embedding.pos_embed.weight, expected * 21 / 16, atol=1e-6)


def test_scale_that_is_set_is_kept():
    source, target = make_model(features=dict(pos_scale=32)), make_model(features=dict(pos_grid=8, pos_scale=32))
    torch.nn.init.constant_(source.embedding.pos_embed.weight, 0.7)
    target.load_state_dict(source.state_dict())
    assert torch.allclose(target.embedding.pos_embed.weight, torch.tensor(0.7))


def test_as_many_cells_are_not_touched():
    source, target = make_model(), make_model(features=dict(pos_grid=(2, 8)))
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.embedding.pos_embed.weight, source.embedding.pos_embed.weight)


def test_grid_that_cannot_be_told_is_refused():
    source = make_model(features=dict(pos_grid=(3, 5))).state_dict()
    with pytest.raises(ValueError, match='pos_embed.weight must hold 4 x 4 cells or those of a square grid to resample, got 15'):
        make_model().load_state_dict(source)


def test_other_sizes_are_left_to_torch_to_report():
    with pytest.raises(RuntimeError, match='size mismatch for embedding.pos_embed.weight'):
        make_model().load_state_dict(make_model(features=dict(pos_grid=6), arch=dict(embed_dims=8, num_layers=2, num_heads=2)).state_dict())


def test_copies_resample_too():
    target = copy.deepcopy(make_model(features=dict(pos_grid=6)))
    target.load_state_dict(make_model().state_dict())
    assert target.embedding.pos_embed.weight.shape == (16, 36)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Weights of a model without tokenizer on a grid of 6 x 6, as a toolkit's checkpoint."""
    weights = {f'backbone.{key}': value for key, value in make_model(features=dict(pos_grid=6)).state_dict().items()}
    torch.save(dict(state_dict=weights | {'head.fc.weight': torch.zeros(2, 16)}, meta=dict(epoch=3)), tmp_path / 'vit.pth')
    return tmp_path / 'vit.pth'


@pytest.fixture
def address(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The checkpoint's address on a server of this machine."""
    monkeypatch.setenv('TORCH_HOME', str(checkpoint.parent / 'downloads'))
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(SimpleHTTPRequestHandler, directory=str(checkpoint.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/vit.pth'
    server.shutdown()
    server.server_close()


def assert_holds(model: DHTViT, checkpoint: Path) -> None:
    weights = torch.load(checkpoint)['state_dict']
    for key, value in model.encoder.state_dict().items():
        assert torch.equal(value, weights[f'backbone.encoder.{key}'])
    assert torch.equal(model.embedding.cls_token, weights['backbone.embedding.cls_token'])


def test_pretrained_takes_files(checkpoint: Path):
    model = make_model(init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint), prefix='backbone.'))
    model.init_weights()
    assert_holds(model, checkpoint)
    assert model.embedding.pos_embed.weight.shape == (16, 16)


def test_pretrained_takes_addresses(checkpoint: Path, address: str):
    model = make_model(init_cfg=dict(type='Pretrained', checkpoint=address, prefix='backbone.'))
    model.init_weights()
    assert_holds(model, checkpoint)


def test_checkpoints_of_a_runner_load(checkpoint: Path):
    model = make_model()
    load_checkpoint(model, str(checkpoint), revise_keys=[(r'^backbone\.', '')])
    assert_holds(model, checkpoint)


def test_backbone_and_tokenizer_come_from_two_files(checkpoint: Path, tmp_path: Path):
    """A retrofit starts from a converted ViT, which has no tokenizer, and a tokenizer that was pre-trained alone."""
    pretrained = DHTTokenizer()
    torch.nn.init.constant_(pretrained.color.weight, 0.25)
    torch.save(dict(state_dict={f'tokenizer.{key}': value for key, value in pretrained.state_dict().items()}), tmp_path / 'tok.pth')
    start = dict(type='Pretrained', checkpoint=str(tmp_path / 'tok.pth'), prefix='tokenizer.')
    tokenizer = dict(type='dht_mm.DHTTokenizer', init_cfg=start)
    model = make_model(tokenizer=tokenizer, init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint), prefix='backbone.'))
    model.init_weights()
    assert_holds(model, checkpoint)
    assert all(torch.equal(value, model.tokenizer.state_dict()[key]) for key, value in pretrained.state_dict().items())


@pytest.mark.parametrize('options, error', [
    (dict(checkpoint='nowhere/vit.pth'), FileNotFoundError), (dict(prefix='neck.'), AssertionError)])
def test_wrong_file_or_prefix_is_an_error(checkpoint: Path, options: dict, error: type):
    with pytest.raises(error, match='nowhere/vit.pth|neck.'):
        make_model(init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint)) | options).init_weights()
