"""Levels are those of the forest: pixels, ever larger unions, the whole image."""

import numpy as np
import pytest
import torch

from dht_mm.tokenizer import DHTTokenizer
from dht_mm.visualization import draw_levels, level_labels, num_levels, selected_levels


@pytest.fixture
def hierarchy(device):
    torch.manual_seed(0)
    images = torch.randn(2, 3, 6, 7).repeat_interleave(4, 2).repeat_interleave(4, 3) + 0.1 * torch.randn(2, 3, 24, 28)
    return DHTTokenizer().to(device).eval().hierarchy(images.to(device))


def test_levels_run_from_pixels_to_whole_images_and_each_unites_the_one_before(hierarchy):
    levels = [level_labels(hierarchy, level) for level in range(num_levels(hierarchy) + 2)]
    assert (levels[0] == np.arange(2 * 24 * 28).reshape(2, 24, 28)).all()
    assert (levels[-1] == np.arange(2)[:, None, None]).all()
    for fine, coarse in zip(levels, levels[1:], strict=False):
        assert (np.unique(coarse) == np.arange(coarse.max() + 1)).all()
        assert len(np.unique(np.stack([fine, coarse], -1).reshape(-1, 2), axis=0)) == fine.max() + 1, 'no region is torn'
    assert len(np.unique(levels[1])) < levels[0].size


def test_regions_lie_in_a_region_of_the_level_they_were_selected_from(hierarchy):
    packed = (hierarchy.labels.cpu() + hierarchy.offsets[:-1].cpu()[:, None, None]).numpy()
    chosen = selected_levels(hierarchy)
    assert chosen.shape == (packed.max() + 1,) and len(np.unique(chosen)) > 1
    nodes, starts = hierarchy.node.cpu().numpy(), hierarchy.level_starts.cpu().numpy()
    for region, level in enumerate(chosen):
        inside = level_labels(hierarchy, level)[packed == region]
        assert (inside == nodes[region] - starts[level]).all()


@pytest.mark.parametrize('level', [-1, 99])
def test_missing_level_is_named(hierarchy, level: int):
    with pytest.raises(ValueError, match=f'level must be from 0 .pixels. to .*, got {level}'):
        level_labels(hierarchy, level)


@pytest.mark.parametrize('shape', [(1, 1), (2, 3), (5, 9)])
def test_pictures_of_tiny_images(shape: tuple[int, int]):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    hierarchy = DHTTokenizer().eval().hierarchy(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    assert draw_levels(image, hierarchy).shape[0] > 240


def test_picture_needs_the_hierarchy_of_the_image(hierarchy):
    with pytest.raises(ValueError, match=r'hierarchy must be of one image of size \(24, 28\), got \(2, 24, 28\)'):
        draw_levels(np.zeros((24, 28, 3), np.uint8), hierarchy)
