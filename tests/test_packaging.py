"""What an installed package holds and asks for, compiled operators apart."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dht_mm

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip('setuptools', reason='building a wheel without a network needs setuptools in the environment')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel of this checkout, built from a copy so that nothing is written here."""
    source = tmp_path_factory.mktemp('source')
    for folder in ('dht_mm', 'configs', 'tools'):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE', 'model-index.yml'):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', source / 'out', source]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {'DHT_MM_WITH_OPS': '0'})
    assert result.returncode == 0, result.stderr
    return zipfile.ZipFile(next((source / 'out').glob('*.whl')))


@pytest.fixture(scope='module')
def metadata(wheel) -> str:
    return wheel.read(next(name for name in wheel.namelist() if name.endswith('METADATA'))).decode()


def test_every_module_is_packed(wheel):
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'dht_mm').rglob('*.py')}
    assert modules <= set(wheel.namelist())


@pytest.mark.parametrize('folder', ['configs', 'tools'])
def test_configs_and_tools_lie_where_the_toolkits_keep_theirs(wheel, folder):
    files = {f'dht_mm/.mim/{path.relative_to(ROOT).as_posix()}' for path in (ROOT / folder).rglob('*.py')}
    assert files and files <= set(wheel.namelist())


def test_models_are_listed_where_the_toolkits_keep_their_lists(wheel):
    index = wheel.read('dht_mm/.mim/model-index.yml').decode()
    assert all(f'dht_mm/.mim/{path}' in wheel.namelist() for path in re.findall(r'- (\S+)', index))


def test_nothing_else_is_packed(wheel):
    tops = {name.split('/')[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith('.dist-info')} == {'dht_mm'}


def test_trained_tokenizers_are_packed(wheel):
    weights = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'dht_mm/tokenizer/weights').iterdir()}
    assert weights and weights <= set(wheel.namelist())


def test_version_and_licence(metadata):
    assert f'\nVersion: {dht_mm.__version__}\n' in metadata
    assert 'License-Expression: Apache-2.0' in metadata or 'License: Apache-2.0' in metadata
    assert '\nRequires-Python: >=3.10\n' in metadata


def test_requirements_leave_the_choice_of_torch_build_and_toolkit_family_to_the_user(metadata):
    required = [line for line in re.findall('^Requires-Dist: (.*)$', metadata, re.M) if 'extra ==' not in line]
    assert sorted(re.match(r'[\w-]+', line).group() for line in required) == ['numpy', 'pillow', 'torch']
    assert all('>=' in line and '==' not in line for line in required)
    assert not re.search(r'^Requires-Dist: torchvision', metadata, re.M)


@pytest.mark.parametrize('extra, distribution', [('seg', 'onedl-mmsegmentation'), ('cls', 'onedl-mmpretrain'), ('dev', 'pytest')])
def test_extras(metadata, extra, distribution):
    assert re.search(rf'^Requires-Dist: {distribution}>=[\d.]+; extra == .{extra}.$', metadata, re.M)


def test_changelog_and_citation_name_this_version_and_the_paper():
    assert dht_mm.__version__ in (ROOT / 'CHANGELOG.md').read_text()
    assert 'arXiv:2511.02652' in (ROOT / 'CITATION.cff').read_text()


def test_commands_name_no_host_of_a_package_registry():
    for path in (ROOT / 'Makefile', ROOT / '.ci/run', *(ROOT / 'tools/env').glob('*.py')):
        assert not re.search(r'https?://|--index-url|--find-links|pypi', path.read_text()), path


def test_make_without_a_goal_lists_the_commands():
    result = subprocess.run(['make', '-C', ROOT, '--no-print-directory'], capture_output=True, text=True)
    assert all(f'make {goal}' in result.stdout for goal in ('env', 'test', 'demo', 'clean'))
