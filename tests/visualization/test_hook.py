"""The hook puts pictures into a run's back ends and changes nothing of the run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from config_runs import find, losses, run, toolkit_script
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel, ImgDataPreprocessor
from mmengine.runner import Runner
from PIL import Image
from torch import Tensor, nn

from dht_mm.backbones import DHTViT
from dht_mm.tokenizer import DHTTokenizer, GridTokenizer, TokenizerPretrainer
from dht_mm.visualization import count_histogram, draw_levels, draw_regions, draw_tokens
from dht_mm.visualization.hook import RegionVisualizationHook

MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 55.0]


class Model(BaseModel):
    """A backbone and a loss."""

    def __init__(self, tokenizer: nn.Module):
        super().__init__(ImgDataPreprocessor(MEAN, STD))
        arch = dict(embed_dims=8, num_layers=2, num_heads=2)
        self.backbone = DHTViT(tokenizer, arch, img_size=24, patch_size=8, drop_path_rate=0.5)

    def forward(self, inputs: Tensor, data_samples: None = None, mode: str = 'tensor') -> dict[str, Tensor] | list:
        tokens, = self.backbone(inputs)
        return dict(loss=tokens.square().mean() + self.backbone.tokenizer.color.weight.sum()) if mode == 'loss' else [tokens]


@pytest.fixture
def pictures() -> np.ndarray:
    """Five pictures ``[24, 32, 3]`` of coloured squares."""
    return np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3), np.uint8).repeat(4, 1).repeat(4, 2)


def start(folder: Path, images: np.ndarray, tokenizer: nn.Module | None = None, **hook) -> tuple[Model, dict[str, np.ndarray]]:
    """Train four steps, with a validation after the fourth; gives the model and the pictures in the local back end."""
    torch.manual_seed(0)
    model = Model(tokenizer or DHTTokenizer(token_budget=dict(mode='soft', train=9, test=9)))
    data = [dict(inputs=torch.from_numpy(image.transpose(2, 0, 1).copy())) for image in images]
    loader = dict(batch_size=2, num_workers=0, dataset=data, collate_fn=dict(type='pseudo_collate'))
    runner = Runner(
        model, str(folder), train_dataloader=loader | dict(sampler=dict(type='InfiniteSampler', shuffle=True)),
        val_dataloader=loader | dict(sampler=dict(type='DefaultSampler', shuffle=False)), val_evaluator=Evaluator([]), val_cfg={},
        train_cfg=dict(by_epoch=False, max_iters=4, val_interval=4),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)), custom_hooks=[RegionVisualizationHook(**hook)] if hook else None,
        visualizer=dict(type='Visualizer', name=str(folder), vis_backends=[dict(type='LocalVisBackend')]),
        default_hooks=dict(checkpoint=None, logger=None), randomness=dict(seed=0), experiment_name=folder.name, log_level='ERROR')
    runner.train()
    return model, {path.stem: np.array(Image.open(path)) for path in folder.glob('*/vis_data/vis_image/*.png')}


def test_training_is_the_same_to_the_bit_with_all_pictures(tmp_path: Path, pictures: np.ndarray):
    plain, nothing = start(tmp_path / 'plain', pictures)
    drawn, written = start(tmp_path / 'drawn', pictures, pictures=['regions', 'levels', 'tokens', 'counts'], interval=2, num_images=1)
    assert not nothing
    assert set(written) == {f'train_{name}_0_{step}' for name in ('regions', 'levels', 'tokens') for step in (2, 4)} | {
        'val_regions_0_4', 'val_levels_0_4', 'val_tokens_0_4', 'val_counts_4'}
    for (name, value), other in zip(plain.state_dict().items(), drawn.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    assert not drawn.backbone.tokenizer._forward_hooks, 'it listens no more'


def test_validation_pictures_are_those_of_the_first_images_and_the_trained_model(tmp_path: Path, pictures: np.ndarray):
    model, written = start(tmp_path / 'run', pictures, pictures=['regions', 'levels', 'tokens', 'counts'], num_images=2)
    assert len(written) == 7
    tokenizer, counts = model.eval().requires_grad_(False).backbone.tokenizer, []
    for index, image in enumerate(pictures):
        inputs = ((torch.from_numpy(image) - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1)[None]
        counts.append(tokenizer(inputs).total_regions)
        if index > 1:
            continue
        assert (written[f'val_regions_{index}_4'] == draw_regions(image, tokenizer(inputs))).all()
        assert (written[f'val_levels_{index}_4'] == draw_levels(image, tokenizer.hierarchy(inputs))).all()
        assert (written[f'val_tokens_{index}_4'] == draw_tokens(image, model.backbone, inputs)).all()
    assert (written['val_counts_4'] == count_histogram(counts)).all()


def test_any_tokenizer_has_regions_but_not_all_have_levels(tmp_path: Path, pictures: np.ndarray):
    class Grid(GridTokenizer):
        color = nn.Linear(1, 1)

    _, written = start(tmp_path / 'grid', pictures, Grid(8), pictures=['regions', 'counts'], num_images=1)
    assert set(written) == {'val_regions_0_4', 'val_counts_4'}
    with pytest.raises(ValueError, match="pictures must be without 'levels' for a Grid, which has no hierarchy"):
        start(tmp_path / 'levels', pictures, Grid(8), pictures=['levels'])


def test_models_without_what_pictures_need_are_named():
    for model, pictures, message in (
            (nn.Linear(1, 1), ['regions'], 'the model must have a tokenizer, but a Linear has none'),
            (TokenizerPretrainer(DHTTokenizer()), ['tokens'], "without 'tokens' for a TokenizerPretrainer, which has no encoder")):
        with pytest.raises(ValueError, match=message):
            RegionVisualizationHook(pictures).before_run(type('Runner', (), dict(model=model)))


@pytest.mark.parametrize('options, message', [
    (dict(pictures=['region']), "pictures must be some of .* got 'region'"),
    (dict(num_images=0), 'num_images must be at least 1, got 0'), (dict(interval=0), 'interval must be at least 1, got 0'),
])
def test_bad_options_are_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        RegionVisualizationHook(**options)


HOOK = "custom_hooks = [dict(type='dht_mm.RegionVisualizationHook', pictures={pictures}, num_images=1, interval=2)]\n"


def train(toolkit: str, base: str, folder: Path, extra: str, options: list[str], pictures: tuple[str, ...]) -> set[str]:
    """Run a toolkit's own script on a config with the hook; gives the names of the pictures written."""
    config = folder / 'config.py'
    config.write_text(f"_base_ = '{find(base).as_posix()}'\n" + HOOK.format(pictures=pictures) + extra)
    output = run(folder, toolkit_script(toolkit, 'train.py'), config, '--work-dir', 'work', '--cfg-options', *options)
    assert np.isfinite(losses(output)).all()
    return {path.stem for path in folder.glob('work/*/vis_data/vis_image/*.png')}


def test_mmsegmentations_script_trains_with_it_and_its_hook_draws_predictions_on_regions(tmp_path: Path):
    random = np.random.default_rng(0)
    for split in ('training', 'validation'):
        for kind, shape in (('images', (64, 64, 3)), ('annotations', (64, 64))):
            (tmp_path / f'data/shapes/{kind}/{split}').mkdir(parents=True)
            Image.fromarray(random.integers(0, 6, shape, np.uint8)).save(tmp_path / f'data/shapes/{kind}/{split}/a.png')
    names = train('mmseg', 'dht-vit-toy_token-head', tmp_path, (
        "model = dict(type='dht_mm.RegionSegmentor')\n"
        "visualizer = dict(_delete_=True, type='dht_mm.RegionVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='v')\n"
        "default_hooks = dict(visualization=dict(type='SegVisualizationHook', draw=True, interval=1))\n"), [
            'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2', 'default_hooks.logger.interval=1',
            'data_preprocessor.size=(64, 64)'], ('regions', 'levels', 'tokens', 'counts'))
    assert names == {*(f'{mode}_{name}_0_2' for mode in ('train', 'val') for name in ('regions', 'levels', 'tokens')), 'val_counts_2',
                     'val_a.png_2'}


def test_mmpretrains_script_trains_with_it(tmp_path: Path):
    random = np.random.default_rng(0)
    for index in range(6):
        path = tmp_path / f'data/imagenette2-160/{"train" if index < 4 else "val"}/class{index % 2}/{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (180, 160, 3), np.uint8)).save(path)
    names = train('mmpretrain', 'dht-vit-toy_1xb32', tmp_path, '', [
        'train_cfg.max_epochs=1', 'train_dataloader.batch_size=2', 'val_dataloader.batch_size=2', 'default_hooks.logger.interval=1'],
        ('regions', 'tokens', 'counts'))
    assert names == {*(f'{mode}_{name}_0_2' for mode in ('train', 'val') for name in ('regions', 'tokens')), 'val_counts_2'}


def test_it_is_a_hook_of_mmengine():
    assert issubclass(RegionVisualizationHook, Hook)
