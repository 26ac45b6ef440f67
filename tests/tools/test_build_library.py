"""The compiled operators are built with the flags that make them exact, and what stands in the way is said in a sentence."""

import sys
from pathlib import Path

import build_library
import pytest
import torch

VARIABLES = ('CXX', 'CXXFLAGS', 'MAX_JOBS', 'FORCE_CUDA', 'CUDA_HOME', 'TORCH_CUDA_ARCH_LIST')
SOURCES = Path(build_library.SOURCES)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """No variable steers the build, and no GPU is visible."""
    for name in VARIABLES:
        monkeypatch.setenv(name, '')  # so that it is put back to what it was, also where the build sets it
        monkeypatch.delenv(name)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)


@pytest.fixture
def toolkit(monkeypatch, tmp_path, compiler) -> Path:
    """A CUDA toolkit and a torch for it."""
    (tmp_path / 'cuda/bin').mkdir(parents=True)
    (tmp_path / 'cuda/bin/nvcc').symlink_to(compiler)
    monkeypatch.setenv('CUDA_HOME', str(tmp_path / 'cuda'))
    monkeypatch.setattr(torch.version, 'cuda', '13.1')
    return tmp_path / 'cuda/bin/nvcc'


def calls(program: Path) -> list[list[str]]:
    return [line.split() for line in program.with_name(f'{program.name}.calls').read_text().splitlines()]


def test_every_source_is_compiled_without_contraction(monkeypatch, compiler, tmp_path):
    monkeypatch.setenv('CXX', f'{compiler} -first')
    monkeypatch.setenv('CXXFLAGS', '-g -O0')
    assert build_library.build(tmp_path / 'new/_ext.so') == 'CPU kernels'
    *compiled, linked = calls(compiler)
    sources = {str(path) for path in [SOURCES / 'schema.cpp', *(SOURCES / 'cpu').glob('*.cpp')]}
    assert {call[call.index('-c') + 1] for call in compiled} == sources
    for call in compiled:
        assert call[:3] == ['-first', '-g', '-O0']
        assert {'-O3', '-std=c++20', '-ffp-contract=off', '-fno-math-errno', '-fno-trapping-math'} < set(call)
        assert '-DTORCH_TARGET_VERSION=0x20a000000000000' in call
    assert '-shared' in linked and {call[-1] for call in compiled} < set(linked)
    assert [part for part in linked if part.startswith('-l')] == ['-ltorch_cpu', '-lc10']
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['_ext.so']


def test_cuda_kernels_are_built_for_the_default_gpus(monkeypatch, compiler, toolkit, tmp_path):
    monkeypatch.setenv('CXX', str(compiler))
    monkeypatch.setenv('FORCE_CUDA', '1')
    assert build_library.build(tmp_path / '_ext.so').startswith('CPU and CUDA kernels (-gencode')
    *compiled, linked = calls(toolkit)
    assert {call[call.index('-c') + 1] for call in compiled} == {str(path) for path in (SOURCES / 'cuda').glob('*.cu')}
    for call in compiled:
        assert {'-std=c++20', '--fmad=false', '-Xcompiler=-fPIC,-ffp-contract=off', '-DUSE_CUDA'} < set(call)
        gpus = {part.split('code=')[-1] for part in call if 'gencode' in part}
        assert gpus == {'sm_80', 'sm_86', 'sm_89', 'sm_90', 'compute_90'}
    assert '-ltorch_cuda' in linked and {call[-1] for call in [*calls(compiler), *compiled]} < set(linked)


def test_architecture_list_is_read_as_torch_does(monkeypatch):
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.0 9.0a;Ada')
    assert sorted(flag.split('=')[-1] for flag in build_library.gpu_flags(torch)) == ['compute_89', 'sm_80', 'sm_89', 'sm_90a']
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', 'Pentium')
    with pytest.raises(build_library.BuildError, match='TORCH_CUDA_ARCH_LIST=Pentium cannot be read'):
        build_library.gpu_flags(torch)


def test_visible_gpu_without_a_toolkit_leaves_its_kernels_out(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.version, 'cuda', '13.1')
    monkeypatch.setenv('CUDA_HOME', str(tmp_path))
    assert build_library.find_nvcc(torch) is None
    assert f'CUDA kernels are left out: {tmp_path}/bin/nvcc cannot be run' in capsys.readouterr().out


def test_toolkit_is_not_used_where_no_gpu_is_visible(toolkit):
    assert build_library.find_nvcc(torch) is None


@pytest.mark.parametrize('cuda, message', [
    (None, 'FORCE_CUDA=1, but this torch has no CUDA'),
    ('12.8', 'FORCE_CUDA=1, but torch was built with CUDA 12.8 and .*/bin/nvcc is of release 13')])
def test_forced_cuda_that_cannot_be_built_is_an_error(monkeypatch, toolkit, cuda: str | None, message: str):
    monkeypatch.setenv('FORCE_CUDA', '1')
    monkeypatch.setattr(torch.version, 'cuda', cuda)
    with pytest.raises(build_library.BuildError, match=message):
        build_library.find_nvcc(torch)


@pytest.mark.parametrize('name, value, message', [
    ('CXX', 'no-such-compiler', r'no-such-compiler cannot be run \(No such file or directory\)'),
    ('CXX', '/bin/false', 'this command failed: /bin/false .*-ffp-contract=off'),
    ('MAX_JOBS', '0', "MAX_JOBS must be a positive integer, got '0'"),
    ('MAX_JOBS', 'two', "MAX_JOBS must be a positive integer, got 'two'")])
def test_failed_build_says_why_and_leaves_no_older_library(monkeypatch, tmp_path, name: str, value: str, message: str):
    library = tmp_path / '_ext.so'
    library.write_text('of older sources')
    monkeypatch.setenv(name, value)
    monkeypatch.setattr('sys.argv', ['build_library.py', str(library)])
    with pytest.raises(SystemExit, match=f'The compiled operators cannot be built: {message}'):
        build_library.main()
    assert not [*tmp_path.glob('_ext*')]


def test_messages_of_the_compiler_are_shown(compiler):
    compiler.write_text('#!/bin/sh\necho "line 3: error: expected ;" >&2; exit 1')
    with pytest.raises(build_library.BuildError, match='line 3: error: expected ;'):
        build_library.run([str(compiler)])


def test_torch_before_the_stable_abi_is_named(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.9.1+cu126')
    with pytest.raises(build_library.BuildError, match=r'torch 2.9.1\+cu126 is older than 2.10'):
        build_library.import_torch()


def test_missing_torch_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch', None)
    with pytest.raises(build_library.BuildError, match='torch cannot be imported .*--no-build-isolation'):
        build_library.import_torch()
