"""Who chooses between the pure-torch and the compiled operators, and what is said where the choice cannot be had."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from dht_mm.ops import backend, backend_info, build_hierarchy, use_backend
from dht_mm.ops.backend import BACKENDS, use_ext

FEATURES = torch.randn(1, 2, 6, 7, generator=torch.Generator().manual_seed(0))
INFO = backend_info()
needs_fitting_torch = pytest.mark.skipif(torch.__version__ < backend.OLDEST_TORCH, reason='a library is not looked at with this torch')
needs_library = pytest.mark.skipif(not INFO['loaded'], reason=f'needs the compiled operators: {INFO["library"]}')


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv('DHT_MM_OPS_BACKEND', raising=False)


@pytest.fixture
def place_library(monkeypatch):
    """Lets the package look for its library elsewhere."""
    def place(path: Path) -> None:
        monkeypatch.setattr(backend, 'LIBRARY', path)
        backend._load.cache_clear()
    yield place
    monkeypatch.undo()
    backend._load.cache_clear()


def hierarchy() -> torch.Tensor:
    return build_hierarchy(FEATURES, torch.zeros(2), torch.tensor(-6.0)).labels


def test_information_names_choice_library_and_devices():
    info = backend_info()
    assert info.keys() == {'choice', 'loaded', 'library', 'cpu', 'cuda'} and info['choice'] == 'auto'
    assert info['cpu'] == ('ext' if info['loaded'] else 'torch') and info['cuda'] in ('ext', 'torch')


@needs_library
def test_compiled_operators_are_used_where_they_fit():
    assert backend_info()['library'] == 'loaded _ext.so'
    assert use_ext(FEATURES)
    assert not use_ext(FEATURES.double()) and not use_ext(FEATURES.to('meta'))


@pytest.mark.parametrize('choice', BACKENDS)
def test_variable_chooses(monkeypatch, choice: str):
    monkeypatch.setenv('DHT_MM_OPS_BACKEND', choice)
    info = backend_info()
    assert info['choice'] == choice
    if choice == 'torch':
        assert info['cpu'] == info['cuda'] == 'torch' and not use_ext(FEATURES)


def test_block_overrules_the_variable_and_blocks_nest(monkeypatch):
    monkeypatch.setenv('DHT_MM_OPS_BACKEND', 'torch')
    with use_backend('auto'):
        assert backend_info()['choice'] == 'auto'
        with use_backend('ext'):
            assert backend_info()['choice'] == 'ext'
            with use_backend('ext'):
                pass
            assert backend_info()['choice'] == 'ext'
        assert backend_info()['choice'] == 'auto'
    assert backend_info()['choice'] == 'torch'


def test_choice_is_restored_after_an_error():
    with pytest.raises(KeyError), use_backend('torch'):
        raise KeyError
    assert backend_info()['choice'] == 'auto'


def test_block_holds_for_other_threads_too():
    """Backward passes on a GPU run in threads of their own."""
    seen = []
    with use_backend('torch'):
        thread = threading.Thread(target=lambda: seen.append(backend_info()['choice']))
        thread.start()
        thread.join()
    assert seen == ['torch']


def test_unknown_names_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"name must be one of \('auto', 'torch', 'ext'\), got 'cuda'"), use_backend('cuda'):
        pass
    assert backend_info()['choice'] == 'auto'
    monkeypatch.setenv('DHT_MM_OPS_BACKEND', 'numpy')
    for call in (backend_info, hierarchy):
        with pytest.raises(ValueError, match=r"DHT_MM_OPS_BACKEND must be one of \('auto', 'torch', 'ext'\), got 'numpy'"):
            call()


def test_missing_library_is_said_and_done_without(place_library, tmp_path):
    expected = hierarchy()
    place_library(tmp_path / '_ext.so')
    info = backend_info()
    assert not info['loaded'] and info['cpu'] == info['cuda'] == 'torch'
    assert info['library'] == 'no compiled library was built with this installation (pip install -v shows why)'
    assert torch.equal(hierarchy(), expected)
    with use_backend('ext'), pytest.raises(RuntimeError, match="'ext' was asked for, but .* no compiled library was built"):
        hierarchy()


@needs_fitting_torch
def test_library_that_does_not_load_is_said_and_done_without(place_library, tmp_path):
    (tmp_path / '_ext.so').write_text('of another machine')
    place_library(tmp_path / '_ext.so')
    info = backend_info()
    assert not info['loaded'] and info['cpu'] == 'torch'
    version = torch.__version__.replace('+', r'\+')
    with use_backend('ext'), pytest.raises(RuntimeError, match=f'_ext.so does not load with torch {version}: '):
        hierarchy()


def test_process_without_a_library_refuses_ext_and_runs_otherwise(tmp_path):
    """From the environment to the error message, in an installation that has none."""
    package = Path(backend.__file__).parents[1]
    shutil.copytree(package / 'ops', tmp_path / 'dht_mm/ops', ignore=shutil.ignore_patterns('*.so', 'csrc', '__pycache__'))
    for name in ('__init__.py', 'version.py'):
        shutil.copy(package / name, tmp_path / 'dht_mm')
    code = ('import torch; from dht_mm.ops import build_hierarchy, use_backend\n'
            'def run(): return build_hierarchy(torch.zeros(1, 2, 3, 3), torch.zeros(2), torch.zeros([])).size.tolist()\n'
            'with use_backend("auto"): print(run(), flush=True)\n'
            'run()')
    result = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True,
                            env={'DHT_MM_OPS_BACKEND': 'ext', 'PATH': '', 'OMP_NUM_THREADS': '1'})
    assert result.stdout == '[9]\n' and result.returncode != 0
    assert "RuntimeError: ops backend 'ext' was asked for, but" in result.stderr and 'no compiled library' in result.stderr
