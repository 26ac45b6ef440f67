"""The environment's steps are done once, and an interrupted one makes the next run start afresh."""

import subprocess
import sys
from pathlib import Path

import pytest
import setup_env

STEPS = ('install_torch', 'install_toolkits', 'install_torchvision', 'install_package')


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The names of the steps that ran; they install nothing."""
    done = []

    def record(name, action=lambda env: None):
        def step(env):
            action(env)
            done.append(name)
        step.__name__ = name
        monkeypatch.setattr(setup_env, name, step)

    def create(env):
        env.python.parent.mkdir(parents=True)
        env.python.symlink_to(sys.executable)

    record('create', create)
    for name in STEPS:
        record(name)
    return done


def fail_at(monkeypatch, name: str, error: BaseException) -> None:
    def step(env):
        raise error
    step.__name__ = name
    monkeypatch.setattr(setup_env, name, step)


def test_second_run_does_nothing(tmp_path, calls):
    env = setup_env.Environment(tmp_path / 'venv')
    setup_env.build(env)
    assert calls == ['create', *STEPS]
    setup_env.build(env)
    assert calls == ['create', *STEPS]


def test_changed_requirements_redo_their_step_and_all_later_ones(tmp_path, calls, monkeypatch):
    setup_env.build(setup_env.Environment(tmp_path / 'venv'))
    calls.clear()
    monkeypatch.setattr(setup_env, 'TOOLKITS', ('another==1',))
    setup_env.build(setup_env.Environment(tmp_path / 'venv'))
    assert calls == list(STEPS[1:])


@pytest.mark.parametrize('error', [KeyboardInterrupt(), OSError('No space left on device'), SystemExit('pip failed')])
def test_interrupted_step_makes_the_next_run_start_afresh(error, tmp_path, calls, monkeypatch):
    env = setup_env.Environment(tmp_path / 'venv')
    with monkeypatch.context() as context:
        fail_at(context, 'install_toolkits', error)
        with pytest.raises(type(error)):
            setup_env.build(env)
    (env.path / 'half a package').touch()
    calls.clear()
    setup_env.build(env)
    assert calls == ['create', *STEPS] and not (env.path / 'half a package').exists()


def test_environment_whose_python_is_gone_is_made_afresh(tmp_path, calls):
    env = setup_env.Environment(tmp_path / 'venv')
    setup_env.build(env)
    env.python.unlink()
    calls.clear()
    setup_env.build(env)
    assert calls == ['create', *STEPS]


def test_interrupted_removal_does_not_stop_the_next_run(tmp_path, calls, monkeypatch):
    env = setup_env.Environment(tmp_path / 'venv')
    setup_env.build(env)
    env.unfinished.touch()

    def remove_steps_only(path, ignore_errors):
        if path.exists():
            original(path / '.steps')
            raise KeyboardInterrupt

    original = setup_env.shutil.rmtree
    with monkeypatch.context() as context:
        context.setattr(setup_env.shutil, 'rmtree', remove_steps_only)
        with pytest.raises(KeyboardInterrupt):
            setup_env.build(env)
    calls.clear()
    setup_env.build(env)
    assert calls == ['create', *STEPS] and [path.name for path in tmp_path.iterdir()] == ['venv']


def test_folder_of_another_program_is_left_alone(tmp_path, calls):
    (tmp_path / 'venv').mkdir()
    (tmp_path / 'venv/precious').touch()
    with pytest.raises(SystemExit, match='was not made by this script'):
        setup_env.build(setup_env.Environment(tmp_path / 'venv'))
    assert (tmp_path / 'venv/precious').exists() and not calls


def test_failing_command_ends_with_the_end_of_the_log(tmp_path):
    env = setup_env.Environment(tmp_path / 'venv')
    env.prepare()
    with pytest.raises(SystemExit, match='(?s)ValueError: reason.*install.log'):
        env.call(sys.executable, '-c', 'raise ValueError("reason")')


def test_no_step_may_exchange_torch(tmp_path, monkeypatch):
    env = setup_env.Environment(tmp_path / 'venv')
    env.prepare()
    commands = []
    monkeypatch.setattr(env, 'call', lambda *command: commands.append(command))
    monkeypatch.setattr(env, 'query', lambda code: 'torch==2.13.0+cpu')
    setup_env.install_torch(env)
    setup_env.install_package(env)
    assert '-c' not in commands[0][3:] and str(env.constraints) in commands[1]
    assert env.constraints.read_text() == 'torch==2.13.0+cpu\n'


def test_torchvision_hook_costs_nothing_until_torchvision_is_imported():
    code = 'import sys, torchvision_cpu; assert "torch" not in sys.modules; import torchvision.transforms; print("fine")'
    folder = Path(setup_env.__file__).parent
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=folder)
    assert result.stdout == 'fine\n', result.stderr


def test_changed_kernel_installs_the_package_again(tmp_path, calls, monkeypatch):
    kernel = tmp_path / 'dht_mm/ops/csrc/cpu/hierarchy.cpp'
    kernel.parent.mkdir(parents=True)
    (tmp_path / 'setup.py').touch()
    kernel.write_text('// old')
    monkeypatch.setattr(setup_env, 'ROOT', tmp_path)
    setup_env.build(setup_env.Environment(tmp_path / 'venv'))
    calls.clear()
    kernel.write_text('// new')
    setup_env.build(setup_env.Environment(tmp_path / 'venv'))
    assert calls == ['install_package']


def test_upstream_toolkits_are_another_environment(tmp_path, calls):
    setup_env.build(setup_env.Environment(tmp_path / 'venv'))
    calls.clear()
    setup_env.build(setup_env.Environment(tmp_path / 'venv', upstream=True))
    assert calls == list(STEPS[1:])


def test_compiled_operators_of_mmcv_are_there_by_name_only():
    code = """
import sys, types
import mmcv_lite
sys.modules['mmcv'] = types.ModuleType('mmcv')
sys.modules['mmcv'].__path__ = []
from mmcv import _ext
assert hasattr(_ext, 'nms') and not hasattr(_ext, '__wrapped__')
_ext.nms()
"""
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=Path(setup_env.__file__).parent)
    assert 'NotImplementedError: nms is compiled code' in result.stderr
