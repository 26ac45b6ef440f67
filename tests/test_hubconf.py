"""torch.hub loads the models from a checkout, with weights that were converted or trained."""

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from dht_mm.backbones import DHTViT
from dht_mm.converters import convert_vit
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import read_state_dict
from dht_mm.tokenizer.shipped import shipped_tokenizer

ROOT = str(Path(__file__).resolve().parents[1])
VITS = dict(dht_vit_small_16=384, dht_vit_base_16=768, dht_vit_large_16=1024)
GRID = dict(type='dht_mm.GridTokenizer', patch_size=16)


def load(name: str, **options) -> nn.Module:
    return torch.hub.load(ROOT, name, source='local', trust_repo=True, **options)


def test_names_that_torch_hub_lists():
    entries = runpy.run_path(f'{ROOT}/hubconf.py')
    assert {name for name, entry in entries.items() if callable(entry) and not name.startswith('_')} == {
        'dht_tokenizer', *VITS, 'dht_vit_base_16_in1k'}


@pytest.mark.parametrize('name, dims', VITS.items())
def test_backbones(name: str, dims: int):
    with torch.device('meta'):
        model = load(name, out_type='featmap')
    assert isinstance(model, DHTViT) and not model.training
    assert (model.embed_dims, model.patch_size, model.out_type) == (dims, 16, 'featmap')


@torch.no_grad()
def test_tokenizer():
    assert load('dht_tokenizer', token_budget=dict(mode='hard', test=9))(torch.rand(1, 3, 32, 32)).num_regions <= 9


@torch.no_grad()
def test_converted_vit_with_its_classifier(tmp_path: Path):
    timm = pytest.importorskip('timm')
    torch.manual_seed(0)
    source = timm.create_model('vit_base_patch16_224', img_size=64).eval()
    weights = convert_vit(source.state_dict()).state_dict
    torch.save(dict(state_dict=weights), tmp_path / 'vit.pth')
    model = load('dht_vit_base_16_in1k', pretrained=tmp_path / 'vit.pth', tokenizer=GRID, features=dict(pos_grid=4))
    images = torch.randn(1, 3, 64, 64)
    assert torch.allclose(model(images), source(images), atol=1e-4)


def test_converted_vit_needs_a_tokenizer(tmp_path: Path):
    torch.save(DHTViT(GRID, 'small').state_dict(), tmp_path / 'vit.pth')
    with pytest.raises(ValueError, match=r"vit.pth lacks \['tokenizer.projection"):
        load('dht_vit_small_16', pretrained=tmp_path / 'vit.pth')
    tokenizer = load('dht_tokenizer')
    model = load('dht_vit_small_16', pretrained=tmp_path / 'vit.pth', tokenizer=tokenizer)
    assert model.tokenizer is tokenizer


def test_weights_of_another_model_are_refused(tmp_path: Path):
    with torch.device('meta'):
        weights = DHTViT(arch=dict(embed_dims=384, num_layers=11, num_heads=6)).state_dict() | dict(extra=torch.zeros(1))
    torch.save({key: torch.zeros(value.shape) for key, value in weights.items()}, tmp_path / 'a.pth')
    with torch.device('meta'), pytest.raises(ValueError, match=r"a.pth lacks \['encoder.blocks.11.*adds \['extra'\]"):
        load('dht_vit_small_16', pretrained=tmp_path / 'a.pth')


@torch.no_grad()
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_trained_backbone_comes_back(prefix: str, tmp_path: Path):
    torch.manual_seed(0)
    source = DHTViT(arch='small').eval()
    torch.save(dict(state_dict={prefix + key: value for key, value in source.state_dict().items()}), tmp_path / 'a.pth')
    images = torch.randn(1, 3, 40, 40)
    assert torch.equal(load('dht_vit_small_16', pretrained=str(tmp_path / 'a.pth'))(images)[0], source(images)[0])


def test_trained_tokenizer_comes_back(tmp_path: Path):
    source = DHTTokenizer()
    torch.save(dict(state_dict={f'tokenizer.{key}': value for key, value in source.state_dict().items()}), tmp_path / 'a.pth')
    assert torch.equal(load('dht_tokenizer', pretrained=tmp_path / 'a.pth').color.weight, source.color.weight)


@pytest.mark.parametrize('compactness', [0.01, 0.1])
def test_shipped_tokenizer(compactness: float):
    expected = read_state_dict(shipped_tokenizer(compactness))
    assert torch.equal(load('dht_tokenizer', pretrained=True, compactness=compactness).color.weight, expected['color.weight'])


@pytest.mark.parametrize('name', [*VITS, 'dht_vit_base_16_in1k'])
def test_published_weights_are_said_to_be_missing_and_how_to_make_them(name: str):
    with torch.device('meta'), pytest.raises(ValueError, match=f'no weights of {name} are published yet; how to make some: ') as error:
        load(name, pretrained=True)
    recipes = str(error.value).partition('make some: ')[2].split(' and ')
    assert recipes and all((Path(ROOT) / recipe).is_file() for recipe in recipes)


def test_missing_file_is_named():
    with torch.device('meta'), pytest.raises(FileNotFoundError, match='nowhere.pth does not exist'):
        load('dht_vit_small_16', pretrained='nowhere.pth')
