"""mmsegmentation's own entry points on an image file: nothing of this package is imported by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('mmseg')
from mmengine.config import Config  # noqa: E402
from mmseg.apis import MMSegInferencer, inference_model, init_model  # noqa: E402
from PIL import Image  # noqa: E402

CONFIG = """
default_scope = 'mmseg'
norm = dict(type='BN')
model = dict(
    type='dht_mm.RegionSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True, size=(32, 48)),
    backbone=dict(type='dht_mm.DHTViT', arch=dict(embed_dims=16, num_layers=1, num_heads=2), img_size=48, out_type='tokens'),
    neck=dict(type='dht_mm.TokenToPixel', in_channels=16, out_channels=8),
    decode_head=dict(type='dht_mm.RegionRefineHead', decode_head=dict(
        type='UPerHead', in_channels=[8] * 4, in_index=[0, 1, 2, 3], pool_scales=(1, 2), channels=8, num_classes=3, norm_cfg=norm)),
    test_cfg=dict(mode='whole'))
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(48, 32)), dict(type='PackSegInputs')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A config, weights with the names of classes, and an image of 60 by 90 pixels."""
    config, weights, image = tmp_path / 'config.py', tmp_path / 'weights.pth', tmp_path / 'image.png'
    config.write_text(CONFIG)
    torch.manual_seed(0)
    model = init_model(Config.fromfile(config), device='cpu')
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(
        classes=('a', 'b', 'c'), palette=[[0, 0, 0], [255, 0, 0], [0, 255, 0]]))), weights)
    blocks = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(blocks.repeat(10, 0).repeat(10, 1)).save(image)
    return config, weights, image


def test_inference_model_gives_the_map_of_regions_at_the_images_size(files):
    config, weights, image = files
    result = inference_model(init_model(str(config), str(weights), device='cpu'), str(image))
    assert result.pred_sem_seg.shape == result.pred_regions.shape == (60, 90)
    regions, classes = result.pred_regions.data[0], result.pred_sem_seg.data[0]
    assert all(len(classes[regions == region].unique()) == 1 for region in regions.unique()) and len(regions.unique()) > 10


def test_inferencer_draws_and_saves(files, tmp_path):
    config, weights, image = files
    inferencer = MMSegInferencer(str(config), str(weights), device='cpu')
    result = inferencer(str(image), out_dir=str(tmp_path / 'out'), show=False)
    saved = {path.parent.name: np.asarray(Image.open(path)) for path in (tmp_path / 'out').rglob('*.png')}
    assert result['predictions'].shape == (60, 90) and set(saved) == {'pred', 'vis'}
    assert np.array_equal(saved['pred'], result['predictions']) and saved['vis'].shape == (60, 90, 3)
