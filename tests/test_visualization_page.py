"""What docs/visualization.md shows is what runs."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

import dht_mm.visualization
from dht_mm.backbones import DHTViT
from dht_mm.registry import HOOKS, VISUALIZERS
from dht_mm.tokenizer import DHTTokenizer

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs/visualization.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)


@torch.no_grad()
def test_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    tokenizer = DHTTokenizer().eval()
    backbone = DHTViT(tokenizer, dict(embed_dims=8, num_layers=1, num_heads=2), patch_size=8).eval()
    image = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    names = dict(tokenizer=tokenizer, backbone=backbone, image=image, inputs=torch.randn(1, 3, 24, 40))
    for block in BLOCKS[2:]:
        exec(block, names)
    assert {path.name for path in tmp_path.iterdir()} == {'regions.png', 'levels.png', 'tokens.png', 'sizes.png'}
    assert names['maps'].shape == (1, 2, 24, 40)


def test_configs(tmp_path: Path):
    (tmp_path / 'config.py').write_text(BLOCKS[0] + BLOCKS[1].replace('_delete_=True, ', ''))
    config = Config.fromfile(tmp_path / 'config.py')
    assert HOOKS.build(config.custom_hooks[0]).interval == 500
    assert VISUALIZERS.build({**config.visualizer, 'save_dir': str(tmp_path), 'name': str(tmp_path)})


def test_names_and_files_exist():
    table = PAGE.split('| function | gives |')[1].split('\n\n')[0]
    assert all(hasattr(dht_mm.visualization, name) for name in re.findall(r'`(\w+)`', table))
    for path in re.findall(r'\b(?:tools|docs)/[\w/-]+\.\w+', PAGE) + [f'docs/{link}' for link in re.findall(r'\]\(([\w./]+)\)', PAGE)]:
        assert (ROOT / path).is_file(), path
