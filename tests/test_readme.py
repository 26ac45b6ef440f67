"""What the README shows is what runs."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text()


@pytest.mark.skipif(find_spec('mmseg') is None, reason='needs mmsegmentation')
def test_config_that_swaps_a_backbone_trains_and_predicts(tmp_path: Path):
    from mmengine.structures import PixelData
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample

    text = re.search(r'```python\n(_base_ = .*?)```', README, re.DOTALL).group(1)
    folder = Path(find_spec('mmseg').submodule_search_locations[0]) / '.mim/configs/segmenter'
    config_file = tmp_path / 'config.py'
    config_file.write_text(text.replace("'./", f"'{folder.as_posix()}/"))
    config = Config.fromfile(config_file)
    config.model.backbone.arch = dict(embed_dims=384, num_layers=1, num_heads=6)  # as wide as the config's, for a quick test
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)
    assert type(model.backbone).__module__.startswith('dht_mm.')

    torch.manual_seed(0)
    labels = PixelData(data=torch.randint(0, 150, (1, 64, 96)))
    sample = SegDataSample(gt_sem_seg=labels, metainfo=dict(img_shape=(64, 96), ori_shape=(64, 96)))
    batch = dict(inputs=[torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)], data_samples=[sample])
    data = model.data_preprocessor(batch, training=True)
    losses = model.loss(**data)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    model.eval()
    with torch.no_grad():
        result, = model.predict(**model.data_preprocessor(batch))
    assert result.pred_sem_seg.data.shape == (1, 64, 96)


def test_commands_exist():
    makefile = (ROOT / 'Makefile').read_text()
    for target in re.findall(r'^make (\w+)', README, re.MULTILINE):
        assert re.search(rf'^{target}:', makefile, re.MULTILINE), target
    for path in re.findall(r'\b(?:tools|tests|docs)/[\w/-]+\.\w+', README):
        assert (ROOT / path).is_file(), path


def test_rooms_are_those_of_the_package():
    listed = re.findall(r'^\| `(\w+)` \|', README, re.MULTILINE)
    rooms = {path.parent.name for path in (ROOT / 'dht_mm').glob('*/__init__.py')}
    assert set(listed) == rooms
