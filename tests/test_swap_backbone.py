"""The configs of docs/swap_backbone.md train and predict: stock configs of the toolkits with their backbone swapped."""

from pathlib import Path

import pytest
import torch
from config_pages import SIZE, assert_trained, build, configs_of, read, shrink, take_gradients, train_and_predict_segmenter
from mmengine.config import Config
from mmengine.registry import DefaultScope

FILES = configs_of('docs/swap_backbone.md')


def names(toolkit: str) -> list[str]:
    return [name for name, page in FILES.items() if page.toolkit == toolkit]


def test_page_has_the_configs_that_it_promises():
    assert {page.toolkit for page in FILES.values()} == {'mmpretrain', 'mmsegmentation', 'mmdetection'}
    assert (len(names('mmpretrain')), len(names('mmsegmentation')), len(names('mmdetection'))) == (2, 4, 1)


@pytest.mark.parametrize('name', FILES)
def test_only_what_comes_before_the_heads_differs(name: str):
    """MixUp goes too."""
    model = Config.fromstring(FILES[name].text.replace('_base_', 'base'), '.py').model
    assert model.backbone.pop('_delete_') is True and model.backbone.type == 'dht_mm.DHTViT'
    assert model.keys() <= {'backbone', 'neck', 'pretrained', 'data_preprocessor', 'train_cfg'}


@pytest.mark.parametrize('name', names('mmpretrain'))
def test_classifiers(name: str, tmp_path: Path):
    config = read(name, FILES[name], tmp_path)
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
    train_and_predict_segmenter(build(read(name, FILES[name], tmp_path), 'mmseg'))


@torch.no_grad()
@pytest.mark.parametrize('size', [(128, 96), (100, 70)])
def test_detectors_backbone_and_neck(size: tuple[int, int]):
    """mmdetection's FPN is mmsegmentation's."""
    registry = pytest.importorskip('mmseg.registry')
    name, = names('mmdetection')
    config = shrink(Config.fromstring(FILES[name].text.replace('_base_', 'base'), '.py'))
    config.model.backbone.pop('_delete_')
    with DefaultScope.overwrite_default_scope('mmseg'):
        backbone, neck = registry.MODELS.build(config.model.backbone), registry.MODELS.build(config.model.neck)
    maps = neck(backbone.eval()(torch.randn(2, 3, *size)))
    cells = [-(-side // 16) for side in size]
    expected = [tuple(int(side * scale) for side in cells) for scale in (4, 2, 1, 0.5)]
    assert [map.shape for map in maps[:4]] == [(2, 256, *shape) for shape in expected] and len(maps) == 5
