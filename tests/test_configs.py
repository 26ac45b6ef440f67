"""Every config parses, builds and is self-contained; the toy ones train and test by the toolkits' own scripts."""

import json
import re
import subprocess
import sys
from pathlib import Path

import mmpretrain.engine  # noqa: F401, registers its optimizers
import mmpretrain.models  # noqa: F401
import mmseg.models  # noqa: F401
import numpy as np
import pytest
import torch
from config_runs import CONFIGS, ROOT, find, losses, metrics, run, toolkit_script
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, TRANSFORMS, DefaultScope
from PIL import Image

from dht_mm.backbones.options import as_pair

NAMES = [path.stem for path in CONFIGS]
DATA_SCRIPT = ROOT / 'tools/demo/make_shapes_dataset.py'


@pytest.fixture(params=CONFIGS, ids=NAMES)
def config(request) -> Config:
    return Config.fromfile(request.param)


def bases(path: Path) -> set[Path]:
    """The files that a config names as its bases."""
    return {(path.parent / name).resolve() for name in re.findall(r"'(\S+\.py)'", path.read_text())}


def test_bases_lie_in_this_folder_and_every_one_is_used():
    used = set().union(*(bases(path) for path in (ROOT / 'configs').rglob('*.py')))
    assert all(base.is_file() and base.is_relative_to(ROOT / 'configs') for base in used)
    assert set((ROOT / 'configs/_base_').rglob('*.py')) <= used
    assert not any('::' in path.read_text() for path in CONFIGS)


def test_scope_is_the_toolkits_own(config):
    assert config.default_scope in ('mmseg', 'mmpretrain')


def test_paths_are_relative(config):
    paths = re.findall(r"(?:data_root|checkpoint|load_from|work_dir)='([^']*)'", config.pretty_text)
    assert all(path.startswith(('data/', 'dht_mm://')) for path in paths)


def test_file_name_tells_batch_size(config):
    devices, batch = map(int, re.search(r'_(\d+)xb(\d+)-', Path(config.filename).stem).groups())
    assert (config.train_dataloader or config.test_dataloader).batch_size == batch
    if config.get('train_cfg') and devices > 1:
        assert config.auto_scale_lr == dict(enable=False, base_batch_size=devices * batch)


def test_file_name_tells_schedule_and_size(config):
    name = Path(config.filename).stem
    if config.get('train_cfg'):
        length, unit = re.search(r'-(\d+)([ei])_', name).groups()
        assert config.train_cfg['max_iters' if unit == 'i' else 'max_epochs'] == int(length)
    height, width = re.search(r'(\d+)(?:px|x(\d+))$', name).groups()
    if 'backbone' in config.model:
        assert as_pair('img_size', config.model.backbone.img_size) == (int(height), int(width or height))


def test_schedule_ends_with_the_training(config):
    last = max(config.get('train_cfg', {}).get(unit, 0) for unit in ('max_epochs', 'max_iters'))
    assert all(scheduler.end <= last for scheduler in config.get('param_scheduler', []))
    assert not config.get('param_scheduler') or config.param_scheduler[-1].end == last


def test_model_builds_and_every_weight_is_optimised(config):
    with DefaultScope.overwrite_default_scope(config.default_scope), torch.device('meta'):
        model = MODELS.build({**config.model, 'data_preprocessor': config.get('data_preprocessor')})
        if not config.get('optim_wrapper'):
            return
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
    optimised = {id(value) for group in wrapper.optimizer.param_groups for value in group['params']}
    left_out = {name.partition('.')[0] for name, value in model.named_parameters() if id(value) not in optimised or not value.requires_grad}
    assert left_out == ({'backbone'} if 'linear' in config.filename else set())


@pytest.mark.parametrize('pattern, start, base, stop, decay', [
    ('^dht-tokenizer_8xb256', 1e-4, 1e-4, 1e-4, 1), ('^dht-vit-s_8xb256-400e', 3e-7, 3e-3, 1e-6, 1),
    ('^dht-vit-b_deit3-pre_8xb256', 1e-7, 6e-5, 1e-6, 0.65), ('^dht-vit-s_8xb64-100e', 1e-6, 1e-5, 1e-5, 0.9),
    ('^dht-vit-s_token-head.*ade20k', 1e-6, 1e-5, 1e-5, 0.85)])
def test_learning_rates_are_those_of_the_papers_table(pattern, start, base, stop, decay):
    """Table D.1, for the last layer; the first layer's are ``decay ** 13`` of them, at every time."""
    config = Config.fromfile(find(pattern))
    with DefaultScope.overwrite_default_scope(config.default_scope), torch.device('meta'):
        wrapper = build_optim_wrapper(MODELS.build({**config.model, 'data_preprocessor': config.data_preprocessor}), config.optim_wrapper)
    schedulers = [PARAM_SCHEDULERS.build({**scheduler, 'optimizer': wrapper, 'epoch_length': 2, '_scope_': 'mmengine'})
                  for scheduler in config.get('param_scheduler', [])]
    rates = [wrapper.get_lr()['lr']]
    for _ in range(2 * config.train_cfg.max_epochs):
        for scheduler in schedulers:
            scheduler.step()
        rates.append(wrapper.get_lr()['lr'])
    last = [max(groups) for groups in rates]
    assert (last[0], max(last), last[-1]) == pytest.approx((start, base, stop), rel=0.02)  # the last step is before the end
    assert last[10] == pytest.approx(base, rel=1e-3)  # after five epochs
    assert all(min(groups) / max(groups) == pytest.approx(decay**13) for groups in rates)


def test_pipelines_build(config):
    with DefaultScope.overwrite_default_scope(config.default_scope):
        for name in ('train', 'val', 'test'):
            if config.get(f'{name}_dataloader'):
                dataset = config[f'{name}_dataloader'].dataset
                assert Compose(dataset.get('dataset', dataset).pipeline).transforms
        assert Compose(config.get('tta_pipeline', [])) is not None


def test_three_augment_makes_images_grey_solarized_or_blurred():
    pipeline = Config.fromfile(ROOT / 'configs/_base_/datasets/imagenet_192_three-augment.py').train_pipeline
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        choice, jitter = (TRANSFORMS.build(step) for step in pipeline if step.type in ('RandomChoice', 'ColorJitter'))
    np.random.seed(0)
    image = np.random.randint(0, 256, (16, 16, 3), np.uint8)
    found = []
    for _ in range(60):
        changed = choice(dict(img=image.copy()))['img']
        grey, solarized = np.ptp(changed, axis=2).max() == 0, np.array_equal(changed, np.where(image < 128, image, 255 - image))
        blurred = not np.array_equal(changed, image) and changed.std() <= image.std()
        found.append('grey' if grey else 'solarized' if solarized else 'blurred' if blurred else 'none')
        if grey:
            assert np.abs(changed[..., 0] - image @ (0.114, 0.587, 0.299)).max() <= 1  # images are read as blue, green, red
    assert all(10 <= found.count(name) <= 30 for name in ('grey', 'solarized', 'blurred')) and 'none' not in found
    means = [jitter(dict(img=np.full((4, 4, 3), 100, np.uint8)))['img'].mean() for _ in range(30)]
    assert 68 <= min(means) < 80 and 120 < max(means) <= 132


def test_plain_vit_beside_the_toy_differs_in_the_tokenizer_alone():
    dht, grid = (Config.fromfile(find(f'^{name}-vit-toy_token-head')).to_dict() for name in ('dht', 'grid'))
    assert dht['model']['backbone'].pop('tokenizer') != grid['model']['backbone'].pop('tokenizer')
    assert dht == grid


@pytest.fixture(scope='module')
def workplace(tmp_path_factory) -> Path:
    """A folder with small data sets where the toy configs look for theirs."""
    folder = tmp_path_factory.mktemp('work')
    subprocess.run([sys.executable, DATA_SCRIPT, folder / 'data/shapes', '--train', '6', '--val', '2'], check=True)
    random = np.random.default_rng(0)
    for index in range(24):
        path = folder / f'data/imagenette2-160/{"train" if index < 16 else "val"}/class{index % 2}/{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (10, 12, 3), np.uint8)).resize((180, 160)).save(path)
    return folder


def iterations(count: int) -> list[str]:
    """Options that shorten a run of mmsegmentation and log every step."""
    return ['--cfg-options', f'train_cfg.max_iters={count}', 'train_dataloader.batch_size=2',
            f'default_hooks.checkpoint.interval={count}', 'default_hooks.logger.interval=1']


@pytest.fixture(scope='module')
def tokenizer(workplace) -> Path:
    """Weights of a tokenizer that mmsegmentation's script pre-trained for three steps, started by this project's front."""
    output = run(workplace, ROOT / 'tools/train.py', find('dht-tokenizer_toy'), '--work-dir', 'tokenizer', *iterations(3))
    assert len(losses(output)) == 3 and 'regions: ' in output
    return workplace / 'tokenizer/iter_3.pth'


@pytest.fixture(scope='module')
def segmenter(workplace, tokenizer) -> Path:
    """A segmenter trained for three steps by mmsegmentation's own script, from the pre-trained tokenizer."""
    source = ('type=Pretrained', f'checkpoint={tokenizer}', 'prefix=tokenizer.')
    start = [f'model.backbone.tokenizer.init_cfg.{option}' for option in source]
    output = run(workplace, toolkit_script('mmseg', 'train.py'), find('dht-vit-toy_token-head'), '--work-dir', 'segmenter',
                 *iterations(3), 'train_cfg.val_interval=3', *start)
    assert len(losses(output)) == 3 and np.isfinite(losses(output)).all() and 'mIoU' in output
    return workplace / 'segmenter/iter_3.pth'


def test_segmenter_takes_over_the_pretrained_tokenizer(tokenizer, segmenter):
    """Three steps of warm-up change weights little: from another start they would be nowhere near."""
    trained, start = (torch.load(path, weights_only=False)['state_dict'] for path in (segmenter, tokenizer))
    weight = 'tokenizer.projection.pixel.conv.weight'
    assert (trained[f'backbone.{weight}'] - start[weight]).abs().max() < 0.01 * start[weight].abs().max()


@pytest.fixture(scope='module')
def evaluation(workplace, segmenter) -> Path:
    """What mmsegmentation's own script writes when it tests the segmenter."""
    folder = workplace / 'evaluation'
    run(workplace, toolkit_script('mmseg', 'test.py'), find('dht-vit-toy_token-head'), segmenter, '--work-dir', folder,
        '--out', folder / 'maps')
    return folder


def test_mmsegmentations_test_script_evaluates_and_writes_label_maps(evaluation):
    assert 0 <= metrics(evaluation)['mIoU'] <= 100
    maps = [np.asarray(Image.open(path)) for path in (evaluation / 'maps').iterdir()]
    assert len(maps) == 2 and all(one.shape == (128, 128) and one.min() >= 1 and one.max() <= 6 for one in maps)


def test_front_gives_the_same_figures_as_the_toolkits_script(workplace, segmenter, evaluation):
    run(workplace, ROOT / 'tools/test.py', find('dht-vit-toy_token-head'), segmenter, '--work-dir', 'own')
    own, theirs = metrics(workplace / 'own'), metrics(evaluation)
    assert [own[key] for key in ('aAcc', 'mIoU', 'mAcc')] == [theirs[key] for key in ('aAcc', 'mIoU', 'mAcc')]


def test_mmsegmentations_test_script_runs_with_test_time_augmentation(workplace, segmenter):
    run(workplace, toolkit_script('mmseg', 'test.py'), find('dht-vit-toy_token-head'), segmenter, '--work-dir', 'tta', '--tta')
    assert 0 <= metrics(workplace / 'tta')['mIoU'] <= 100


def test_mmpretrains_scripts_train_and_test(workplace):
    config = find('dht-vit-toy_1xb32')
    short = ['--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=8', 'val_dataloader.batch_size=8',
             'test_dataloader.batch_size=8', 'default_hooks.logger.interval=1']
    output = run(workplace, toolkit_script('mmpretrain', 'train.py'), config, '--work-dir', 'classifier', *short)
    assert len(losses(output)) == 2 and np.isfinite(losses(output)).all()
    run(workplace, toolkit_script('mmpretrain', 'test.py'), config, 'classifier/epoch_1.pth', '--work-dir', 'cls_test', '--out',
        'cls_test.json', '--out-item', 'metrics', *short)
    assert 0 <= json.loads((workplace / 'cls_test.json').read_text())['accuracy/top1'] <= 100
