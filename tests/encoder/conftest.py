"""Fixtures of the encoder's tests."""

import pytest
import torch


@pytest.fixture(params=['cpu', 'cuda'])
def device(request) -> str:
    """A device."""
    if request.param == 'cuda' and not torch.cuda.is_available():
        pytest.skip('needs a GPU')
    return request.param
