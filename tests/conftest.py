"""Fixtures shared by all tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / 'shared'


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of golden numbers, photos and weights beside the checkout; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip(f'needs the reference data in {SHARED.parent.name}/shared, which is not there')
    return SHARED


@pytest.fixture(params=['cpu', 'cuda'])
def device(request) -> str:
    """A device; the GPU where there is one."""
    import torch

    if request.param == 'cuda' and not torch.cuda.is_available():
        pytest.skip('needs a GPU')
    return request.param


@pytest.fixture(autouse=True)
def forget_default_scope() -> Iterator[None]:
    """A Runner leaves its default scope behind, in which the next test would look for the toolkits' classes."""
    yield
    if registry := sys.modules.get('mmengine.registry'):
        registry.DefaultScope._instance_dict.clear()


COMPILER = """#!/bin/sh
case "$*" in *--version*) echo 'release 13.0'; exit;; esac
echo "$@" >> "$0.calls"
while [ "$1" != -o ]; do shift; done
echo compiled > "$2"
"""


@pytest.fixture
def compiler(tmp_path) -> Path:
    """A program in place of g++ or nvcc 13. It makes the file asked for and notes its arguments in ``compiler.calls``."""
    program = tmp_path / 'compiler'
    program.write_text(COMPILER)
    program.chmod(0o755)
    return program
