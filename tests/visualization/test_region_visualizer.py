"""Samples are drawn with what they have."""

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, PixelData

from dht_mm.registry import VISUALIZERS
from dht_mm.visualization import draw_borders, label_palette, paint_labels, paint_mean_color, panel_strip

PALETTE = [[10, 20, 30], [200, 0, 0], [0, 0, 200]]
IMAGE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
MAPS = dict(pred_regions=torch.arange(12)[:, None].expand(12, 16) // 5, pred_sem_seg=torch.arange(16).expand(12, 16) % 3,
            gt_sem_seg=torch.where(torch.arange(16) < 3, 255, 1).expand(12, 16))


@pytest.fixture
def visualizer(tmp_path):
    return VISUALIZERS.build(dict(
        type='dht_mm.RegionVisualizer', name=str(tmp_path), save_dir=str(tmp_path), vis_backends=[dict(type='LocalVisBackend')]))


def sample(*keys: str) -> BaseDataElement:
    return BaseDataElement(**{key: PixelData(data=MAPS[key][None]) for key in keys})


def test_all_maps_side_by_side_in_the_colours_of_the_data_set(visualizer):
    visualizer.dataset_meta = dict(palette=PALETTE)
    palette, maps = np.array(PALETTE, np.uint8), {key: value.numpy() for key, value in MAPS.items()}
    assert (visualizer.draw_datasample(IMAGE, sample(*MAPS)) == panel_strip({
        'image': IMAGE, '3 regions': draw_borders(IMAGE, maps['pred_regions']),
        'mean colours': paint_mean_color(IMAGE, maps['pred_regions']), 'prediction': paint_labels(maps['pred_sem_seg'], palette),
        'ground truth': paint_labels(maps['gt_sem_seg'], palette, 255)})).all()


def test_what_is_missing_or_not_wanted_is_left_out(visualizer):
    assert (visualizer.draw_datasample(IMAGE, None) == panel_strip({'image': IMAGE})).all()
    truth = visualizer.draw_datasample(IMAGE, sample(*MAPS), draw_pred=False)
    assert (truth == visualizer.draw_datasample(IMAGE, sample('gt_sem_seg'))).all()
    assert (truth == panel_strip({'image': IMAGE, 'ground truth': paint_labels(MAPS['gt_sem_seg'].numpy(), label_palette(2), 255)})).all()


def test_the_back_ends_get_the_picture(visualizer, tmp_path):
    visualizer.add_datasample('sample', IMAGE, sample(*MAPS), step=7)
    assert [path.name for path in tmp_path.rglob('*.png')] == ['sample_7.png']
