"""The report of ``python -m dht_mm.doctor``, on this installation and on broken ones."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

import dht_mm
from dht_mm import doctor
from dht_mm.doctor import FAILED, NOTE, OK
from dht_mm.ops import backend

ROOT = Path(__file__).resolve().parents[1]
HIDE = '''
import importlib.machinery
import sys

finder = importlib.machinery.PathFinder
original = finder.find_spec
finder.find_spec = classmethod(
    lambda cls, name, path=None, target=None: None if name.split('.')[0] in {hidden} else original(name, path, target))
'''


def report(**variables: str) -> subprocess.CompletedProcess:
    """The command's, run from the checkout."""
    return subprocess.run([sys.executable, '-m', 'dht_mm.doctor'], cwd=ROOT, capture_output=True, text=True, env=os.environ | variables)


def hide(folder: Path, *packages: str) -> dict[str, str]:
    """Variables under which Python finds none of the packages."""
    (folder / 'sitecustomize.py').write_text(HIDE.format(hidden=packages))
    return dict(PYTHONPATH=os.pathsep.join(filter(None, [str(folder), os.environ.get('PYTHONPATH')])))


@pytest.fixture
def library(monkeypatch, tmp_path) -> Path:
    """Where the operators' library is looked for; nothing is there."""
    path = tmp_path / '_ext.so'
    monkeypatch.setattr(backend, 'LIBRARY', path)
    monkeypatch.delenv('DHT_MM_OPS_BACKEND', raising=False)
    backend._load.cache_clear()
    yield path
    backend._load.cache_clear()


def test_report_names_versions_operators_and_the_self_test():
    result = report()
    assert result.returncode == 0, result.stdout + result.stderr
    for text in (dht_mm.__version__, f'torch {torch.__version__}', sys.version.split()[0], 'operators: ', 'self-test: ',
                 'everything that is installed works'):
        assert text in result.stdout
    assert '[FAILED]' not in result.stdout and not result.stderr


def test_without_mmsegmentation_all_else_works(tmp_path):
    result = report(**hide(tmp_path, 'mmseg'))
    assert result.returncode == 0, result.stdout + result.stderr
    assert '[note]    mmseg is not installed, so TokenHead is not there' in result.stdout
    assert 'mmengine: finds dht_mm.DHTViT' in result.stdout and 'of a small DHTViT' in result.stdout


def test_without_any_toolkit_the_rooms_that_need_one_are_named(tmp_path):
    result = report(**hide(tmp_path, 'mmengine', 'mmseg', 'mmpretrain', 'mmcv'))
    assert result.returncode == 0, result.stdout + result.stderr
    assert '          dht_mm.backbones: needs mmengine' in result.stdout and 'self-test: ' in result.stdout


def test_toolkit_that_cannot_be_imported_fails(tmp_path):
    (tmp_path / 'mmseg').mkdir()
    (tmp_path / 'mmseg/__init__.py').write_text('raise ImportError("operator torchvision::nms does not exist")')
    result = report(**hide(tmp_path))
    assert result.returncode == 1
    assert '[FAILED]  ImportError: operator torchvision::nms does not exist' in result.stdout
    assert 'checks failed: docs/troubleshooting.md' in result.stdout and 'Traceback' not in result.stdout + result.stderr


def test_missing_operators_are_no_failure_and_are_explained(library):
    finding = doctor.check_operators()
    assert finding.status == NOTE and 'no compiled library was built' in finding.text and 'more slowly' in finding.text


@pytest.mark.skipif(torch.__version__ < backend.OLDEST_TORCH, reason='a library is not looked at with a torch this old')
def test_library_that_does_not_load_fails(library):
    library.write_bytes(b'not a library')
    finding = doctor.check_operators()
    assert finding.status == FAILED and '_ext.so does not load with torch' in finding.text


def test_torch_that_is_too_old_for_the_library_is_no_failure(library, monkeypatch):
    library.write_bytes(b'not looked at')
    monkeypatch.setattr(backend, 'OLDEST_TORCH', (99, 0))
    finding = doctor.check_operators()
    assert finding.status == NOTE and f'needs torch 99.0 or newer, this is {torch.__version__}' in finding.text


def test_missing_operators_fail_where_they_are_asked_for(library, monkeypatch):
    monkeypatch.setenv('DHT_MM_OPS_BACKEND', 'ext')
    assert doctor.check_operators().status == FAILED


def test_switched_off_operators_are_said_to_be_so(monkeypatch):
    monkeypatch.setenv('DHT_MM_OPS_BACKEND', 'torch')
    assert 'operators: torch on the CPU' in (text := doctor.check_operators().text) and 'DHT_MM_OPS_BACKEND=torch' in text


def test_unknown_backend_is_reported_and_not_raised(monkeypatch):
    monkeypatch.setenv('DHT_MM_OPS_BACKEND', 'fast')
    assert doctor.diagnose(doctor.check_operators) == (
        FAILED, "ValueError: DHT_MM_OPS_BACKEND must be one of ('auto', 'torch', 'ext'), got 'fast'")


@pytest.mark.parametrize('names, status, text', [
    (('onedl-mmengine',), OK, 'OneDL'), ((), OK, 'none'), (('mmengine', 'mmcv-lite'), OK, 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1'),
    (('onedl-mmengine', 'mmengine'), FAILED, 'onedl-mmengine, mmengine')])
def test_families_of_toolkits(names, status, text, monkeypatch):
    def version(name: str) -> str:
        if name in names:
            return '1.0'
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, 'version', version)
    finding = doctor.check_families()
    assert finding.status == status and text in finding.text


def test_kernels_that_differ_from_the_definition_are_found(monkeypatch):
    ops = pytest.importorskip('dht_mm.ops')
    original, calls = ops.build_hierarchy, []

    def build(*arguments):
        calls.append(arguments)
        result = original(*arguments)
        return result._replace(labels=result.labels.flip(2)) if len(calls) == 4 else result

    monkeypatch.setattr(ops, 'build_hierarchy', build)
    assert doctor.self_test() == (
        FAILED, 'self-test: labels from the pure-torch definition differ from those of the CPU: please report it')


def test_result_that_depends_on_the_batch_is_found(monkeypatch):
    ops = pytest.importorskip('dht_mm.ops')
    original = ops.build_hierarchy
    monkeypatch.setattr(ops, 'build_hierarchy', lambda features, *maps: original(features * len(features), *maps))
    assert doctor.self_test() == (FAILED, 'self-test: image 0 has other regions alone than in a batch')
