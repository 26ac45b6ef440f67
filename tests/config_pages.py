"""Configs shown on a page of the documentation, read and built as a user's."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r'```python\n# (\w+): configs/(\w+)/([\w-]+)\.py\n(.*?)```', re.DOTALL)
PACKAGES = dict(mmpretrain='mmpretrain', mmsegmentation='mmseg')
SIZE = (64, 96)


class Page(NamedTuple):
    """A config of a page.

    Attributes:
        toolkit: The toolkit whose config it builds on.
        stock: Folder of that config.
        text: The config.
    """

    toolkit: str
    stock: str
    text: str


def configs_of(page: str) -> dict[str, Page]:
    """The configs of a page by their names."""
    return {name: Page(toolkit, stock, text) for toolkit, stock, name, text in BLOCK.findall((ROOT / page).read_text())}


def read(name: str, page: Page, folder: Path) -> Config:
    """The config, written beside the stock one, with fewer and thinner blocks but for the dimensions that the head knows."""
    package = pytest.importorskip(PACKAGES[page.toolkit])
    bases = Path(find_spec(package.__name__).submodule_search_locations[0]) / '.mim/configs' / page.stock
    (folder / f'{name}.py').write_text(page.text.replace("'./", f"'{bases.as_posix()}/"))
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


def train_and_predict_segmenter(model: nn.Module) -> list:
    """Samples with the predictions of a batch, after a training step's gradients reached every parameter."""
    structures = pytest.importorskip('mmseg.structures')
    samples = [structures.SegDataSample(
        gt_sem_seg=PixelData(data=torch.randint(0, 150, (1, *SIZE))), metainfo=dict(img_shape=SIZE, ori_shape=SIZE)) for _ in range(2)]
    batch = dict(inputs=[torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8) for _ in samples], data_samples=samples)
    model.data_preprocessor.size = SIZE
    take_gradients(model.train().loss(**model.data_preprocessor(batch, training=True)))
    assert_trained(model)
    model.test_cfg = ConfigDict(mode='whole')
    with torch.no_grad():
        results = model.eval().predict(**model.data_preprocessor(batch))
    assert all(result.pred_sem_seg.data.shape == (1, *SIZE) for result in results)
    return results
