"""Tokens to paint."""

import pytest
import torch
from partitions import random_case

from dht_mm.structures import RegionTokens


def make_tokens(height: int = 37, width: int = 50, dims: int = 6, blocks: int = 1, dtype: torch.dtype = torch.float32,
                device: str = 'cpu') -> RegionTokens:
    _, partition = random_case(2, height, width, seeds=20, seed=3)
    generator = torch.Generator().manual_seed(4)
    tokens = [torch.randn(partition.total_regions, dims, generator=generator, dtype=dtype) for _ in range(blocks)]
    return RegionTokens(tuple(block.to(device).requires_grad_() for block in tokens), (), partition.to(device))


@pytest.fixture
def tokens_of() -> type(make_tokens):
    """The function above."""
    return make_tokens
