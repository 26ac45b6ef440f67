"""CamVid is read as its files are, with void ignored in either numbering."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmseg')
from mmengine.registry import DATASETS, init_default_scope  # noqa: E402

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ('train', 'trainannot'):
        (tmp_path / name).mkdir()
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / 'train/a.png')
    Image.fromarray(np.array([[0, 10, 11], [255, 3, 4]], np.uint8)).save(tmp_path / 'trainannot/a.png')
    return tmp_path


def labels(folder: Path, **options) -> list[list[int]]:
    init_default_scope('mmseg')
    data = DATASETS.build(dict(type='dht_mm.CamVidDataset', data_root=str(folder), pipeline=PIPELINE,
                               data_prefix=dict(img_path='train', seg_map_path='trainannot'), **options))
    assert len(data) == 1
    return data[0]['gt_seg_map'].tolist()


def test_void_is_ignored_in_both_numberings(folder: Path):
    assert labels(folder) == [[0, 10, 255], [255, 3, 4]]


def test_classes_can_be_chosen(folder: Path):
    assert labels(folder, metainfo=dict(classes=('bicyclist', 'road'))) == [[255, 0, 255], [255, 1, 255]]


def test_images_and_classes_of_the_shared_archive_fit(shared: Path, tmp_path: Path):
    import zipfile

    with zipfile.ZipFile(shared / 'data/camvid.zip') as archive:
        names = [name for name in archive.namelist() if '/val/' in name][:4]
        archive.extractall(tmp_path, names)
    init_default_scope('mmseg')
    data = DATASETS.build(dict(type='dht_mm.CamVidDataset', data_root=str(tmp_path / 'camvid'), img_suffix='.jpg', pipeline=PIPELINE,
                               data_prefix=dict(img_path='images/val', seg_map_path='annotations/val')))
    assert len(data) == 2 and all(sample['gt_seg_map'].shape == sample['img'].shape[:2] == (360, 480) for sample in data)
    assert {value for sample in data for value in np.unique(sample['gt_seg_map'])} <= {*range(11), 255}
    assert len(data.metainfo['classes']) == len(data.metainfo['palette']) == 11
