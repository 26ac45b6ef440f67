"""Creates the environment of ``make test`` and ``make demo``: one step after the other, resumable, standard library only.

    python3 tools/env/setup_env.py .venv
    python3 tools/env/setup_env.py .venv-upstream --stack upstream    # that of make test-upstream

A step is skipped when its stamp in ``VENV/.steps`` holds the same requirements as now. Stamps are written after success only.
A step that was begun and not finished (Ctrl-C, full disk) may have left half a package behind that pip takes for a whole one, so
the next run starts with a fresh environment.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TORCH = ('torch==2.13.0',)  # alone and first, so that nothing else chooses the build
TOOLKITS = ('onedl-mmengine==0.10.12', 'onedl-mmcv==2.3.6', 'onedl-mmsegmentation==1.4.2', 'onedl-mmpretrain==1.3.6')
# The packages that the maintained ones above stem from, with the last numpy 1. Their registry reads pkg_resources, which later
# setuptools do not have; OpenCV from 4.12 on asks for numpy 2; mmpretrain needs the last two at import without saying so.
UPSTREAM = ('mmengine==0.10.7', 'mmcv-lite==2.1.0', 'mmsegmentation==1.2.2', 'mmpretrain==1.2.0', 'numpy==1.26.4', 'setuptools<81',
            'opencv-python<4.12', 'ftfy', 'regex')
TORCHVISION = ('torchvision==0.28.0',)
# Verbose, so that the log shows why compiled operators could not be built; with the setuptools that torch requires.
PACKAGE = ('-v', '--no-build-isolation', '-e', f'{ROOT}[dev,docs,lint]')
LAST_LINES = 15


class Environment:
    """A virtual environment with a stamp for each finished step."""

    def __init__(self, path: Path, upstream: bool = False) -> None:
        self.path, self.upstream = path, upstream
        self.python = path / ('Scripts/python.exe' if os.name == 'nt' else 'bin/python')
        self.steps = path / '.steps'
        self.unfinished = self.steps / 'unfinished'
        self.log = self.steps / 'install.log'
        self.constraints = self.steps / 'constraints.txt'

    def prepare(self) -> None:
        """Removes what an interrupted run left; refuses a folder that another program made."""
        if self.path.exists() and not self.steps.is_dir():
            raise SystemExit(f'{self.path} exists and was not made by this script: remove it or choose another with VENV=')
        discarded = self.path.with_name(self.path.name + '.discarded')
        if self.unfinished.exists() or (self.steps.is_dir() and not self.runs()):
            print(f'[env] {self.path} is incomplete, starting afresh', flush=True)
            shutil.rmtree(discarded, ignore_errors=True)
            self.path.rename(discarded)  # at once, so that no half-removed environment is met by the next run
        shutil.rmtree(discarded, ignore_errors=True)
        self.steps.mkdir(parents=True, exist_ok=True)

    def runs(self) -> bool:
        """Whether the environment's interpreter starts (the Python that it was made with may be gone)."""
        return self.python.exists() and subprocess.run([self.python, '-c', ''], capture_output=True).returncode == 0

    def call(self, *command: str | Path) -> None:
        """Runs a command of the environment with its output in the log; ends the program with the log's end if it fails."""
        with self.log.open('ab') as log:
            code = subprocess.run(command, stdout=log, stderr=log, cwd=ROOT).returncode
        if code:
            lines = self.log.read_text(errors='replace').splitlines()
            tail = [line for line in lines if not line.startswith('WARNING')][-LAST_LINES:]
            raise SystemExit('\n'.join([*tail, f'[env] failed; the whole log: {self.log}']))

    def pip(self, *arguments: str) -> None:
        """``pip install``, which from the second step on may not exchange torch."""
        keep = ('-c', str(self.constraints)) if self.constraints.exists() else ()
        self.call(self.python, '-m', 'pip', 'install', '--disable-pip-version-check', '--progress-bar', 'off', *keep, *arguments)

    def query(self, code: str) -> str | None:
        """What the environment's Python prints for ``code``; None if it fails."""
        result = subprocess.run([self.python, '-c', code], capture_output=True, text=True, cwd=self.path)
        return result.stdout.strip() if result.returncode == 0 else None

    def write(self, path: Path, text: str) -> None:
        """Writes a file that is either whole or not there."""
        partial = path.with_name(path.name + '.partial')
        partial.write_text(text)
        partial.replace(path)


def create(env: Environment) -> None:
    """The empty environment, with the Python that runs this script."""
    env.call(sys.executable, '-m', 'venv', env.path)


def install_torch(env: Environment) -> None:
    """torch, and the rule that later steps keep exactly this build."""
    env.pip(*TORCH)
    env.write(env.constraints, env.query('import torch; print("torch==" + torch.__version__)') + '\n')


def install_toolkits(env: Environment) -> None:
    """mmengine, mmcv, mmsegmentation and mmpretrain."""
    env.pip(*(UPSTREAM if env.upstream else TOOLKITS))
    if env.upstream:
        env.write(env.constraints, env.constraints.read_text() + 'numpy<2\n')
        add_start_up_module(env, 'mmcv_lite')


def add_start_up_module(env: Environment, name: str) -> None:
    """Makes the environment import a module of this folder whenever its Python starts."""
    site = Path(env.query('import sysconfig; print(sysconfig.get_path("purelib"))'))
    shutil.copy(Path(__file__).with_name(f'{name}.py'), site / f'{name}.py')
    (site / f'{name}.pth').write_text(f'import {name}\n')


def install_torchvision(env: Environment) -> None:
    """torchvision, made importable where it is a CUDA build and torch is not."""
    if env.query('import torchvision') is None:
        cpu_only = env.query('import torch; print(torch.version.cuda)') == 'None'
        env.pip(*(('--no-deps',) if cpu_only else ()), *TORCHVISION)
    if env.query('import torchvision') is None:
        add_start_up_module(env, 'torchvision_cpu')
        env.call(env.python, '-c', 'import torchvision')


def install_package(env: Environment) -> None:
    """This checkout, editable, with what its tests need, and its compiled operators where they can be built."""
    env.pip(*PACKAGE)
    if env.query('from dht_mm.ops import backend_info as b; assert b()["loaded"]') is None:
        print(f' without compiled operators ({env.log} says why)', end='', flush=True)


def package_key() -> tuple[str, ...]:
    """What the installation of this checkout depends on: the package's metadata and the sources of its compiled operators."""
    sources = [ROOT / 'setup.py', *sorted((ROOT / 'tools/ops').glob('*.py')), *sorted((ROOT / 'dht_mm/ops/csrc').rglob('*.*'))]
    content = b''.join(source.read_bytes() for source in sources)
    return (*PACKAGE, os.environ.get('DHT_MM_WITH_OPS', ''), hashlib.sha256(content).hexdigest())


def build(env: Environment) -> None:
    """Runs every step whose stamp is missing or outdated, and all after it."""
    steps = (
        ('virtual environment', create, ''),
        ('torch', install_torch, TORCH),
        ('toolkits', install_toolkits, UPSTREAM if env.upstream else TOOLKITS),
        ('torchvision', install_torchvision, TORCHVISION),
        ('dht_mm', install_package, package_key()),
    )
    env.prepare()
    outdated = False
    for number, (name, run, key) in enumerate(steps, 1):
        stamp = env.steps / run.__name__
        outdated = outdated or not stamp.exists() or stamp.read_text() != repr(key)
        if not outdated:
            continue
        print(f'[env {number}/{len(steps)}] {name} ...', end='', flush=True)
        start = time.monotonic()
        env.write(env.unfinished, name)
        run(env)
        env.write(stamp, repr(key))
        env.unfinished.unlink()
        print(f' {time.monotonic() - start:.0f} s', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description='Create or complete the environment of make test and make demo.')
    parser.add_argument('venv', type=Path, help='folder of the environment')
    parser.add_argument('--stack', choices=['onedl', 'upstream'], default='onedl', help='which family of toolkits')
    arguments = parser.parse_args()
    env = Environment(arguments.venv.absolute(), arguments.stack == 'upstream')
    if sys.version_info < (3, 10):
        raise SystemExit(f'Python 3.10 or newer is needed, this is {sys.version.split()[0]}')
    try:
        build(env)
    except KeyboardInterrupt:
        raise SystemExit('\n[env] interrupted; the next run starts afresh') from None
    except OSError as error:
        raise SystemExit(f'\n[env] {error}; the next run starts afresh') from None


if __name__ == '__main__':
    main()
