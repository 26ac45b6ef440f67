"""The published tokenizer with its golden numbers, and what several tests of tokenizers compare with."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from normalized import normalize
from torch import Tensor

from dht_mm.converters import convert_tokenizer
from dht_mm.tokenizer import DHTTokenizer


@dataclass
class Golden:
    """One image with the numbers that the published code computed for it.

    Attributes:
        arrays: What the file holds.
        config: The settings it was made with.
        image: ``[1, 3, H, W]``, normalised.
        tokenizer: The published weights with these settings, in evaluation, without a token budget.
    """

    arrays: dict[str, np.ndarray]
    config: dict
    image: Tensor
    tokenizer: DHTTokenizer

    def tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])


@pytest.fixture(scope='session')
def published(shared: Path) -> dict[str, Tensor]:
    """Weights of the tokenizer published with the paper."""
    return convert_tokenizer(torch.load(shared / 'weights/r2v.pth', map_location='cpu', weights_only=True)).state_dict


@pytest.fixture(scope='session')
def golden(shared: Path, published: dict[str, Tensor]) -> Callable[[str], Golden]:
    """Reads a golden file of the tokenizer by name, once a session."""
    read: dict[str, Golden] = {}

    def load(name: str) -> Golden:
        if name not in read:
            with np.load(shared / f'golden/tokenizer_{name}.npz') as file:
                arrays = dict(file)
            config = json.loads(str(arrays.pop('config')))
            tokenizer = DHTTokenizer(
                criterion=config['criterion'], compactness=config['compactness'], iota=config['iota'],
                min_regions=config['min_avg_region']).eval()
            tokenizer.load_state_dict(published)
            read[name] = Golden(arrays, config, normalize(arrays['image']), tokenizer)
        return read[name]

    return load


@pytest.fixture(scope='session')
def images(golden: Callable) -> Tensor:
    """Pieces of two photos and one colour."""
    photos = [golden(name).image[0, :, 20:66, 30:81] for name in ('cityhydrant_128x128_aicc_cmp0.1', 'toys_128x128_cic_cmp0.01')]
    return torch.stack([*photos, torch.zeros_like(photos[0])])


@pytest.fixture
def model(published: dict[str, Tensor]) -> DHTTokenizer:
    """The published tokenizer, whose batch norm stays in evaluation in training too."""
    model = DHTTokenizer(compactness=0.01, norm_eval=True).eval()
    model.load_state_dict(published)
    return model
