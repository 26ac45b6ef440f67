"""Fixtures of the operators' tests."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from dht_mm.ops import backend_info


@contextmanager
def _other_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def other_threads():
    """A context with another number of threads than outside of it: two, or one where there are more."""
    return _other_threads


@pytest.fixture
def device(device: str) -> str:
    """A device, with kernels if there are any at all."""
    if device == 'cuda' and backend_info()['loaded'] and backend_info()['cuda'] != 'ext':
        pytest.skip('the compiled library has no CUDA kernels')
    return device
