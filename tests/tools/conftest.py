"""Makes the scripts under tools/ importable, as they are when they run; gives those that read images weights and a photo."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dht_mm.tokenizer import DHTTokenizer

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
sys.path[:0] = [str(TOOLS), *(str(TOOLS / folder) for folder in ('demo', 'env', 'model_converters', 'ops', 'release'))]


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'tokenizer.pth'
    torch.save(DHTTokenizer().state_dict(), path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A noisy picture of four quadrants, 24 pixels high and 32 wide."""
    quadrants = np.kron([[[220, 40, 40], [40, 200, 40]], [[40, 40, 220], [230, 230, 60]]], np.ones((12, 16, 1)))
    noise = np.random.default_rng(0).normal(0, 6, (24, 32, 1))
    path = tmp_path / 'photo.png'
    Image.fromarray((quadrants + noise).clip(0, 255).astype(np.uint8)).save(path)
    return path
