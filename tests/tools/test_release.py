"""The distributions that a release consists of can be installed and used elsewhere. The compiler hands out the checkout's library."""

import re
import tarfile
import zipfile
from pathlib import Path

import build_distributions
import pytest
from check_wheel import check_wheel

from dht_mm.ops import backend_info
from dht_mm.ops.backend import LIBRARY

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip('setuptools', minversion='70.1', reason='building a wheel without a network needs a setuptools that can')


@pytest.fixture(scope='module')
def sdist(tmp_path_factory) -> Path:
    return build_distributions.build_sdist(tmp_path_factory.mktemp('dist'))


@pytest.fixture(scope='module')
def pure_wheel(sdist) -> Path:
    return build_distributions.build_wheel(sdist, sdist.parent, with_ops=False)


@pytest.fixture
def wheel_with_ops(sdist, tmp_path, monkeypatch) -> Path:
    if not backend_info()['loaded']:
        pytest.skip('needs compiled operators')
    compiler = tmp_path / 'c++'
    compiler.write_text(f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\ncp "{LIBRARY}" "$2"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv('CXX', str(compiler))
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.delenv('FORCE_CUDA', raising=False)
    return build_distributions.build_wheel(sdist, tmp_path, with_ops=True)


def test_source_distribution_leaves_out_what_a_checkout_gathers(sdist):
    with tarfile.open(sdist) as content:
        names = {name.partition('/')[2] for name in content.getnames()}
    assert {'setup.py', 'model-index.yml', 'hubconf.py', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'LICENSE'} <= names
    assert not [name for name in names if re.search(r'\.so$|__pycache__|^(data|work_dirs|demo_out|build|dist)/', name)]


def test_wheel_with_operators_works_in_an_environment_of_its_own(wheel_with_ops):
    assert 'dht_mm/ops/_ext.so' in zipfile.ZipFile(wheel_with_ops).namelist()
    check_wheel(wheel_with_ops, operators=True)


def test_wheel_without_the_operators_it_should_have_is_found(pure_wheel):
    assert pure_wheel.name.endswith('-py3-none-any.whl')
    with pytest.raises(SystemExit, match='the installed wheel is wrong: the CPU operators are torch'):
        check_wheel(pure_wheel, operators=True)


def test_wheel_of_another_linux_gets_its_name(wheel_with_ops):
    pytest.importorskip('auditwheel', reason='needs auditwheel and patchelf')
    assert re.search(r'-cp310-abi3-manylinux_2_\d+_', build_distributions.repair(wheel_with_ops).name)


def test_without_auditwheel_the_wheel_keeps_its_name(pure_wheel, monkeypatch, capsys):
    monkeypatch.setattr(build_distributions, 'find_spec', lambda name: None)
    assert build_distributions.repair(pure_wheel) == pure_wheel and 'auditwheel is not installed' in capsys.readouterr().out
