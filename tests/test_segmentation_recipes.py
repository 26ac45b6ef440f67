"""Every recipe for segmentation trains and validates by mmsegmentation's own script on data in its data set's folders.

The images are small and the network is two thin blocks; pipelines, crops and everything else are as in the configs.
"""

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from config_runs import ROOT, find, run_here, toolkit_script
from PIL import Image

from dht_mm.backbones import DHTViT

sys.path.append(str(ROOT / 'tools/demo'))
from make_shapes_dataset import OWN_PHOTO, SCENES, load_photo, make_sample  # noqa: E402

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2)
SHORT = ['train_cfg.max_epochs=2', 'train_cfg.val_interval=2', 'default_hooks.logger.interval=1', 'train_dataloader.batch_size=2',
         'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
         'val_dataloader.persistent_workers=False', 'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False']
THIN = ['model.backbone.arch._delete_=True', *(f'model.backbone.arch.{key}={value}' for key, value in ARCH.items())]
TOKEN_HEAD = ['model.decode_head.in_channels=32']
UPERNET = ['model.backbone.out_indices=0,0,1,1', 'model.neck.in_channels=32', 'model.auxiliary_head.in_channels=32',
           'model.decode_head.in_channels=32,32,32,32', 'model.decode_head.channels=16']


class Layout(NamedTuple):
    """Where a data set keeps its files: names of images and label maps with SPLIT and NAME, the splits, and what unlabelled is."""

    image: str
    labels: str
    splits: tuple[str, ...]
    unlabelled: int | None  # None: 0, and classes count from 1


COCO = 'images/SPLIT/NAME.jpg', 'annotations/SPLIT/NAME_labelTrainIds.png'
LAYOUTS = {
    'ade/ADEChallengeData2016': Layout('images/SPLIT/NAME.jpg', 'annotations/SPLIT/NAME.png', ('training', 'validation'), None),
    'coco_stuff10k': Layout(*COCO, ('train2014', 'test2014'), None),
    'coco_stuff164k': Layout(*COCO, ('train2017', 'val2017'), 255),
    'VOCdevkit/VOC2010': Layout('JPEGImages/SPLIT_NAME.jpg', 'SegmentationClassContext/SPLIT_NAME.png', ('train', 'val'), None),
    'cityscapes': Layout('leftImg8bit/SPLIT/town/town_NAME_leftImg8bit.png', 'gtFine/SPLIT/town/town_NAME_gtFine_labelTrainIds.png',
                         ('train', 'val'), 255),
    'CamVid': Layout('SPLIT/NAME.png', 'SPLITannot/NAME.png', ('train', 'val', 'test'), 11),
}


def write(folder: Path, pattern: str, split: str, name: str, picture: np.ndarray) -> None:
    path = folder / pattern.replace('SPLIT', split).replace('NAME', name)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


@pytest.fixture(scope='module')
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two images to train on and one of each other split, wider than high, for every data set; and weights."""
    folder, random = tmp_path_factory.mktemp('segmentation'), np.random.default_rng(0)
    photos = {name: load_photo(name) for name in (*SCENES, *OWN_PHOTO.values())}
    for place, layout in LAYOUTS.items():
        for split, name in ((layout.splits[0], '2'), *((split, '1') for split in layout.splits)):
            image, labels = (picture[:96] for picture in make_sample(random, photos, 128))
            labels[:4] = 0
            if layout.unlabelled is not None:
                labels = np.where(labels == 0, layout.unlabelled, labels - 1).astype(np.uint8)
            write(folder / 'data' / place, layout.image, split, name, image)
            write(folder / 'data' / place, layout.labels, split, name, labels)
    lists = folder / 'data/VOCdevkit/VOC2010/ImageSets/SegmentationContext'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('train_1\ntrain_2\n')
    (lists / 'val.txt').write_text('val_1\n')
    torch.manual_seed(0)
    weights = {f'backbone.{name}': value for name, value in DHTViT(arch=ARCH, features=dict(pos_grid=24)).state_dict().items()}
    (folder / 'data/pretrain').mkdir()
    torch.save(dict(state_dict=weights), folder / 'data/pretrain/dht-vit-s_deit3-pre_8xb64-100e_in1k-224px.pth')
    return folder


def run_script(workplace: Path, name: str, config: Path, *arguments: str | Path) -> Path:
    """Run a script of mmsegmentation in the workplace; it gives the folder of the run."""
    folder = workplace / name / config.stem
    run_here(workplace, toolkit_script('mmseg', name), config, *arguments, '--work-dir', folder)
    return folder


def logged(folder: Path) -> dict[str, list[float]]:
    """What a run logged, by its names."""
    lines = [json.loads(line) for line in next(folder.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    return {key: [line[key] for line in lines if key in line] for key in {key for line in lines for key in line}}


@pytest.mark.parametrize('pattern, head', [
    ('token-head_.*ade20k', TOKEN_HEAD), ('upernet_.*ade20k', UPERNET), ('token-head_.*stuff10k', TOKEN_HEAD),
    ('token-head_.*stuff164k', TOKEN_HEAD), ('token-head_.*pascal-context', TOKEN_HEAD), ('token-head_.*cityscapes', TOKEN_HEAD),
    ('token-head_.*camvid', TOKEN_HEAD), ('token-decode_.*camvid', TOKEN_HEAD)])
def test_recipe_trains_and_validates(workplace: Path, capfd: pytest.CaptureFixture, pattern: str, head: list[str]):
    config = find(f'^dht-vit-s_{pattern}')
    folder = run_script(workplace, 'train.py', config, '--cfg-options', *SHORT, *THIN, *head)
    scores = logged(folder)
    assert len(scores['loss']) == 2 and np.isfinite(scores['loss']).all() and 0 <= scores['mIoU'][0] <= 100
    printed = capfd.readouterr()
    log = printed.out + printed.err
    assert 'resampled from 24 x 24 to ' in log and 'size mismatch' not in log
    missing = re.findall('missing keys in source state_dict: (.*)', log)
    assert missing == (['embedding.form_embed.weight'] if 'decode' in pattern else [])  # new beside the weights, and 0
    assert (folder / 'epoch_2.pth').is_file()


def test_camvid_is_tested_on_its_test_split(workplace: Path):
    torch.save({}, workplace / 'empty.pth')
    folder = run_script(workplace, 'test.py', find('^dht-vit-s_token-head_.*camvid'), 'empty.pth', '--out', 'maps', '--cfg-options',
                        *SHORT, *THIN, *TOKEN_HEAD)
    assert 0 <= json.loads(next(folder.glob('*/*.json')).read_text())['mIoU'] <= 100
    written, = (workplace / 'maps').iterdir()
    labels = np.asarray(Image.open(written))
    assert written.name == '1.png' and labels.shape == (96, 128) and labels.max() < 11
