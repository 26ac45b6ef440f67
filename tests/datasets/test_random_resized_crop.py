"""Crops lie in the image, have the share and shape asked for, and keep labels and pixels together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip('mmseg')
from mmengine.registry import TRANSFORMS  # noqa: E402

from dht_mm.datasets import RandomResizedCrop  # noqa: E402


def sample(height: int, width: int) -> dict:
    """An image whose first two channels are the place of each pixel, and a label map that repeats them."""
    rows, columns = np.indices((height, width), dtype=np.uint8)
    return dict(img=np.stack([rows, columns, rows], -1), gt_seg_map=columns, seg_fields=['gt_seg_map'])


def build(**options) -> RandomResizedCrop:
    return TRANSFORMS.build(dict(type='dht_mm.RandomResizedCrop', **options))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_result_has_the_size_whatever_the_image(height: int, width: int, rows: int, columns: int, seed: int):
    np.random.seed(seed)
    results = RandomResizedCrop((rows, columns))(sample(height, width))
    assert results['img'].shape == (rows, columns, 3) and results['gt_seg_map'].shape == results['img_shape'] == (rows, columns)


def test_crops_have_the_share_and_the_shape_asked_for():
    np.random.seed(0)
    crop, shares, shapes = build(size=(100, 200), scale=(0.3, 0.6), ratio=(0.8, 1.2)), [], []
    for _ in range(200):
        rows, columns = (window.stop - window.start for window in crop._draw(100, 200))
        shares.append(rows * columns / 20000)
        shapes.append(columns / rows / 2)
    assert 0.29 < min(shares) < 0.33 and 0.57 < max(shares) < 0.61
    assert 0.78 < min(shapes) < 0.83 and 1.17 < max(shapes) < 1.22


def test_labels_stay_with_their_pixels():
    np.random.seed(1)
    results = build(size=(50, 50))(sample(60, 60))
    assert np.abs(results['img'][..., 1].astype(int) - results['gt_seg_map']).max() <= 1
    assert set(np.unique(results['gt_seg_map'])) <= set(range(60)) and len(np.unique(results['gt_seg_map'])) > 35


def test_image_too_narrow_for_any_crop_gives_the_largest_of_the_shape():
    window = RandomResizedCrop((10, 10), scale=(1, 1))._draw(10, 100)
    assert [side.stop - side.start for side in window] == [10, 10]


@pytest.mark.parametrize('options', [dict(size=(0, 3)), dict(size=(3, 3, 3))])
def test_refuses_a_size_without_pixels(options: dict):
    with pytest.raises(ValueError, match='size'):
        RandomResizedCrop(**options)


@pytest.mark.parametrize('name, values', [('scale', (0.5, 1.1)), ('scale', (0, 1)), ('scale', (0.9, 0.5)), ('ratio', (0, 2)),
                                          ('ratio', (2, 1))])
def test_refuses_ranges_without_meaning(name: str, values: tuple[float, float]):
    with pytest.raises(ValueError, match=f'{name} must be a range'):
        RandomResizedCrop((4, 4), **{name: values})
