"""tools/train.py and tools/test.py find the toolkit of a config, and say what is wrong when they can't."""

import subprocess
import sys
from pathlib import Path

import mmpretrain
import mmseg
import pytest
import toolkit_script

TOOLS = Path(toolkit_script.__file__).parent


def config(folder: Path, scope: str | None) -> str:
    path = folder / 'config.py'
    path.write_text('' if scope is None else f'default_scope = {scope!r}')
    return str(path)


@pytest.mark.parametrize('arguments, expected', [
    (['a.py'], 'a.py'),
    (['--work-dir', 'out', 'configs/a.py', 'b.pth', '--resume'], 'configs/a.py'),
    (['--cfg-options', 'data.file=x.json', 'load_from=y.py', 'a.yaml'], 'a.yaml'),
    (['--help'], None),
    ([], None),
])
def test_config_is_found_among_the_arguments(arguments, expected):
    assert toolkit_script.find_config(arguments) == expected


@pytest.mark.parametrize('scope, package', [('mmseg', mmseg), ('mmpretrain', mmpretrain)])
@pytest.mark.parametrize('script', ['train.py', 'test.py'])
def test_script_is_that_of_the_toolkit_in_default_scope(scope, package, script, tmp_path):
    found = toolkit_script.find_script(config(tmp_path, scope), script)
    assert found == Path(package.__file__).parent / '.mim/tools' / script


@pytest.mark.parametrize('scope', [None, 'mmdet', 'dht_mm'])
def test_unknown_toolkit_is_refused(scope, tmp_path):
    with pytest.raises(ValueError, match='default_scope .* must be one of mmseg, mmpretrain, got'):
        toolkit_script.find_script(config(tmp_path, scope), 'train.py')


def test_missing_toolkit_is_named_with_the_extra_that_brings_it(tmp_path, monkeypatch):
    monkeypatch.setattr(toolkit_script, 'find_spec', lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"mmpretrain, which is not installed: pip install 'dht_mm\[cls\]'"):
        toolkit_script.find_script(config(tmp_path, 'mmpretrain'), 'train.py')


def test_missing_config_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='config must be a file, but .*none.py does not exist'):
        toolkit_script.find_script(str(tmp_path / 'none.py'), 'train.py')


@pytest.mark.parametrize('script', ['train.py', 'test.py'])
@pytest.mark.parametrize('arguments, code', [(['--help'], 0), ([], 2)])
def test_usage_is_printed_without_a_config(script, arguments, code):
    result = subprocess.run([sys.executable, TOOLS / script, *arguments], capture_output=True, text=True)
    assert result.returncode == code and f'python tools/{script} CONFIG' in result.stdout


def test_error_is_one_sentence_and_no_traceback():
    result = subprocess.run([sys.executable, TOOLS / 'train.py', 'none.py'], capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr == 'train.py: config must be a file, but none.py does not exist\n'


def test_all_arguments_reach_the_script_unchanged(tmp_path, monkeypatch):
    script = tmp_path / 'script.py'
    script.write_text('import sys; from pathlib import Path; Path(sys.argv[-1]).write_text(repr((__name__, sys.argv[:-1])))')
    monkeypatch.setattr(toolkit_script, 'find_script', lambda config, name: script)
    arguments = ['a.py', '--cfg-options', 'x=1', '--launcher', 'none', str(tmp_path / 'seen')]
    monkeypatch.setattr(sys, 'argv', ['tools/train.py', *arguments])
    monkeypatch.setattr(sys, 'path', ['tools', *sys.path[1:]])
    toolkit_script.run_toolkit_script('train.py', '')
    assert (tmp_path / 'seen').read_text() == repr(('__main__', [str(script), *arguments[:-1]]))
