"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / 'shared'


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of golden numbers, photos and weights beside the checkout; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip(f'needs the reference data in {SHARED.parent.name}/shared, which is not there')
    return SHARED
