"""The configs of docs/swap_backbone.md train and predict: stock configs of the toolkits with their backbone swapped."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r'```python\n# (\w+): configs/(\w+)/([\w-]+)\.py\n(.*?)```', re.DOTALL)
FILES = {name: (toolkit, folder, text) for toolkit, folder, name, text in BLOCK.findall((ROOT / 'docs/swap_backbone.md').read_text())}
PACKAGES = dict(mmpretrain='mmpretrain', mmsegmentation='mmseg')
SIZE = (64, 96)


def names(toolkit: str) -> list[str]:
    return [name for name, (found, _, _) in FILES.items() if found == toolkit]


def read(name: str, folder: Path) -> Config:
    """The config, written beside the stock one, with fewer and thinner blocks but for the dimensions that the head knows."""
    toolkit, stock, text = FILES[name]
    package = pytest.importorskip(PACKAGES[toolkit])
    bases = Path(find_spec(package.__name__).submodule_search_locations[0]) / '.mim/configs' / stock
    (folder / f'{name}.py').write_text(text.replace("'./", f"'{bases.as_posix()}/"))
    return shrink(Config.fromfile(folder / f'{name}.py'))


def shrink(config: Config) -> Config:
    backbone = config.model.backbone
    dims = dict(small=384, base=768, large=1024)[backbone.arch]
    indices = backbone.get('out_indices')
    layers = len(set(indices)) if indices else 1
    backbone.arch = dict(embed_dims=dims, num_layers=layers, num_heads=4, feedforward_channels=32)
    if indices:
        backbone.out_indices = [sorted(set(indices)).index(index) for index in indices]
    return config


def build(config: Config, scope: str) -> nn.Module:
    registry = pytest.importorskip(f'{scope}.registry')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope):
        model = registry.MODELS.build({**config.model, 'data_preprocessor': config.model.get(
            'data_preprocessor', config.get('data_preprocessor'))})
        model.init_weights()
    assert type(model.backbone).__module__.startswith('dht_mm.')
    return revert_sync_batchnorm(model)


def take_gradients(losses: dict) -> None:
    sum(value for name, value in losses.items() if 'loss' in name).backward()


def assert_trained(model: nn.Module) -> None:
    """Every parameter has a gradient, as data-parallel training wants."""
    assert not [name for name, value in model.named_parameters() if value.grad is None or not value.grad.isfinite().all()]


def test_page_has_the_configs_that_it_promises():
    assert {toolkit for toolkit, _, _ in FILES.values()} == {'mmpretrain', 'mmsegmentation', 'mmdetection'}
    assert (len(names('mmpretrain')), len(names('mmsegmentation')), len(names('mmdetection'))) == (2, 4, 1)


@pytest.mark.parametrize('name', FILES)
def test_only_backbone_neck_and_channels_differ(name: str):
    """Heads keep all but the channels that come in; MixUp goes."""
    _, _, text = FILES[name]
    model = Config.fromstring(text.replace('_base_', 'base'), '.py').model
    assert model.backbone.pop('_delete_') is True and model.backbone.type == 'dht_mm.DHTViT'
    assert model.keys() <= {'backbone', 'neck', 'pretrained', 'data_preprocessor', 'train_cfg', 'decode_head', 'auxiliary_head'}
    assert all(model.get(head, {}).keys() <= {'in_channels'} for head in ('decode_head', 'auxiliary_head'))


@pytest.mark.parametrize('name', names('mmpretrain'))
def test_classifiers(name: str, tmp_path: Path):
    config = read(name, tmp_path)
    structures = pytest.importorskip('mmpretrain.structures')
    model = build(config, 'mmpretrain').train()
    samples = [structures.DataSample().set_gt_label(label) for label in (1, 7)]
    batch = dict(inputs=[torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8) for _ in samples], data_samples=samples)
    take_gradients(model(**model.data_preprocessor(batch, training=True), mode='loss'))
    assert_trained(model)
    with torch.no_grad():
        first, _ = model.eval().test_step(batch)
    assert first.pred_score.shape == (1000,)


@pytest.mark.parametrize('name', names('mmsegmentation'))
def test_segmenters(name: str, tmp_path: Path):
    config = read(name, tmp_path)
    structures = pytest.importorskip('mmseg.structures')
    model = build(config, 'mmseg').train()
    samples = [structures.SegDataSample(
        gt_sem_seg=PixelData(data=torch.randint(0, 150, (1, *SIZE))), metainfo=dict(img_shape=SIZE, ori_shape=SIZE)) for _ in range(2)]
    batch = dict(inputs=[torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8) for _ in samples], data_samples=samples)
    model.data_preprocessor.size = SIZE
    take_gradients(model.loss(**model.data_preprocessor(batch, training=True)))
    assert_trained(model)
    model.test_cfg = ConfigDict(mode='whole')
    with torch.no_grad():
        first, _ = model.eval().predict(**model.data_preprocessor(batch))
    assert first.pred_sem_seg.data.shape == (1, *SIZE)


@torch.no_grad()
@pytest.mark.parametrize('size', [(128, 96), (100, 70)])
def test_detectors_backbone_and_neck(size: tuple[int, int]):
    """mmdetection's FPN is mmsegmentation's."""
    registry = pytest.importorskip('mmseg.registry')
    text, = (text for toolkit, _, text in FILES.values() if toolkit == 'mmdetection')
    config = shrink(Config.fromstring(text.replace('_base_', 'base'), '.py'))
    config.model.backbone.pop('_delete_')
    with DefaultScope.overwrite_default_scope('mmseg'):
        backbone, neck = registry.MODELS.build(config.model.backbone), registry.MODELS.build(config.model.neck)
    maps = neck(backbone.eval()(torch.randn(2, 3, *size)))
    cells = [-(-side // 16) for side in size]
    expected = [tuple(int(side * scale) for side in cells) for scale in (4, 2, 1, 0.5)]
    assert [map.shape for map in maps[:4]] == [(2, 256, *shape) for shape in expected] and len(maps) == 5
