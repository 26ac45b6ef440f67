"""Installing compiles the operators where that is possible, and says so where it is not. The compiler is a stand-in."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = 'dht_mm/ops/_ext.so'
STEERING = ('DHT_MM_WITH_OPS', 'FORCE_CUDA', 'CXXFLAGS', 'MAX_JOBS')
setuptools = pytest.importorskip('setuptools', reason='building without a network needs setuptools in the environment')


@pytest.fixture(scope='module')
def source(tmp_path_factory) -> Path:
    """A copy of the checkout without a library."""
    copy = tmp_path_factory.mktemp('source')
    for folder in ('dht_mm', 'configs', 'tools'):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns('__pycache__', '*.so'))
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE', 'model-index.yml'):
        shutil.copy(ROOT / name, copy)
    return copy


class Installer:
    """Builds distributions of the copy as pip does, without its downloads."""

    def __init__(self, source: Path, target: Path, compiler: Path) -> None:
        self.source, self.target, self.compiler = source, target, compiler

    def run(self, kind: str, **variables: str) -> subprocess.CompletedProcess:
        """Builds a ``'wheel'``, an ``'editable'`` wheel or an ``'sdist'``."""
        code = f'import setuptools.build_meta as backend; backend.build_{kind}({str(self.target)!r})'
        environment = {name: value for name, value in os.environ.items() if name not in STEERING}
        environment |= {'CXX': str(self.compiler), 'CUDA_VISIBLE_DEVICES': ''} | variables
        return subprocess.run([sys.executable, '-c', code], cwd=self.source, capture_output=True, text=True, env=environment)

    def build(self, kind: str, **variables: str) -> Path:
        """The file that is built."""
        result = self.run(kind, **variables)
        assert result.returncode == 0, result.stderr
        return next(self.target.glob('dht_mm*'))


@pytest.fixture
def installer(source, tmp_path, compiler) -> Installer:
    (tmp_path / 'out').mkdir()
    return Installer(source, tmp_path / 'out', compiler)


def isolate(folder: Path) -> dict[str, str]:
    """Variables that hide the packages of this Python from a build as pip does: only setuptools can be imported."""
    folder.mkdir()
    site = Path(setuptools.__file__).parents[1]
    for path in [site / 'setuptools', *site.glob('_distutils_hack'), *site.glob('pkg_resources'), *site.glob('setuptools-*')]:
        (folder / path.name).symlink_to(path)
    hidden = {str(site), str(Path(torch.__file__).parents[1])}
    (folder / 'sitecustomize.py').write_text(f'import sys\nsys.path[:] = [path for path in sys.path if path not in {hidden}]\n')
    return dict(PYTHONPATH=str(folder), PYTHONNOUSERSITE='1')


def test_wheel_holds_a_library_for_every_python(installer):
    wheel = installer.build('wheel', DHT_MM_WITH_OPS='1')
    platform = sysconfig.get_platform().replace('-', '_')
    python = f'cp{sys.version_info[0]}{sys.version_info[1]}t' if sysconfig.get_config_var('Py_GIL_DISABLED') else 'cp310-abi3'
    assert python in wheel.name and wheel.name.endswith(f'-{platform}.whl')
    with zipfile.ZipFile(wheel) as content:
        assert content.read(LIBRARY) == b'compiled\n'
        assert not [name for name in content.namelist() if 'csrc' in name or name.endswith('.so') and name != LIBRARY]


def test_torch_is_found_from_within_an_isolated_build(installer, tmp_path):
    isolated = isolate(tmp_path / 'isolated')
    hidden = subprocess.run([sys.executable, '-c', 'import torch'], capture_output=True, text=True, env=os.environ | isolated)
    assert 'No module named' in hidden.stderr
    assert LIBRARY in zipfile.ZipFile(installer.build('wheel', DHT_MM_WITH_OPS='1', **isolated)).namelist()


def test_without_a_compiler_the_installation_succeeds_and_says_what_is_used(installer):
    result = installer.run('wheel', CXX='/bin/false')
    assert result.returncode == 0, result.stderr
    assert 'The compiled operators cannot be built: this command failed: /bin/false' in result.stderr
    assert 'the pure-torch backend will be used' in result.stderr
    assert LIBRARY not in zipfile.ZipFile(next(installer.target.glob('*.whl'))).namelist()


def test_failed_build_is_an_error_where_operators_are_asked_for(installer):
    result = installer.run('wheel', CXX='/bin/false', DHT_MM_WITH_OPS='1')
    assert result.returncode != 0 and not [*installer.target.iterdir()]
    assert 'DHT_MM_WITH_OPS=1, but the compiled operators cannot be built' in result.stderr


def test_nothing_is_compiled_where_operators_are_declined(installer):
    assert installer.build('wheel', DHT_MM_WITH_OPS='0').name.endswith('-py3-none-any.whl')
    assert not installer.compiler.with_name('compiler.calls').exists()


def test_unknown_value_is_named(installer):
    result = installer.run('wheel', DHT_MM_WITH_OPS='yes')
    assert result.returncode != 0 and "DHT_MM_WITH_OPS must be 0, 1 or unset, got 'yes'" in result.stderr


def test_editable_installation_builds_in_place_and_keeps_no_outdated_library(installer):
    installer.build('editable')
    assert (installer.source / LIBRARY).read_text() == 'compiled\n'
    installer.build('editable', CXX='/bin/false')
    assert not (installer.source / LIBRARY).exists()


def test_source_distribution_holds_what_the_build_needs(installer):
    with tarfile.open(installer.build('sdist')) as content:
        names = {name.partition('/')[2] for name in content.getnames()}
    csrc = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'dht_mm/ops/csrc').rglob('*.*')}
    assert csrc and csrc | {'setup.py', 'tools/ops/build_library.py'} <= names and LIBRARY not in names
