"""Installs a wheel into an empty environment and uses it from an empty folder.

    python tools/release/check_wheel.py WHEEL

The environment sees the packages of the one that runs this script behind its own, so that torch and the toolkits need not be installed
again; the package itself can only come from the wheel.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

DATA = 'tools/demo/make_shapes_dataset.py'
CONFIG = 'configs/dht/tokenizer/dht-tokenizer_toy_1xb16-60i_shapes-128px.py'
SHORT = ('train_cfg.max_iters=1', 'train_dataloader.batch_size=2', 'default_hooks.checkpoint.interval=1')
MODEL_ZOO = 'import dht_mm.model_zoo; from mmpretrain import get_model; get_model("dht-vit-s_8xb64-100e_in1k-224px", device="meta")'


class Environment:
    """An environment with nothing but a wheel, over the packages of this one.

    Args:
        folder: Where it is made.
        wheel: What is installed, without its requirements.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        venv.create(folder / 'venv')
        self.python = folder / 'venv/bin/python'
        below = sysconfig.get_path('purelib')
        self.site = Path(self.run('-c', 'import sysconfig; print(sysconfig.get_path("purelib"))').strip())
        install = ['-m', 'pip', '--python', self.python, 'install', '-q', '--no-deps', '--no-index', '--disable-pip-version-check', wheel]
        subprocess.run([sys.executable, *install], check=True)
        (self.site / 'below.pth').write_text(f'import site; site.addsitedir({below!r})\n')

    def run(self, *arguments: str | Path) -> str:
        """What Python prints, run in the empty folder.

        Raises:
            SystemExit: It fails.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith(('PYTHON', 'DHT_MM'))}
        result = subprocess.run([self.python, '-W', 'ignore', *arguments], cwd=self.folder, capture_output=True, text=True,
                                env=environment | dict(OMP_NUM_THREADS='1'))
        if result.returncode:
            raise SystemExit(f'{result.stdout}\n{result.stderr}\n{arguments[0]} {arguments[1]} failed, see above')
        return result.stdout


def expect(found: bool, what: str) -> None:
    """Ends the program where something is not as it must be."""
    if not found:
        raise SystemExit(f'the installed wheel is wrong: {what}')


def check_wheel(wheel: Path, operators: bool) -> None:
    """Installs a wheel and uses its doctor, model index, configs and tools.

    Args:
        wheel: The file.
        operators: Whether it must have compiled operators, or must not.

    Raises:
        SystemExit: Something does not work.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = Environment(Path(folder), wheel.resolve())
        report = environment.run('-m', 'dht_mm.doctor')
        package = environment.site / 'dht_mm'
        expect(str(package) in report, f'dht_mm is imported from another place\n{report}')
        backend = re.search(r'operators: (\w+) on the CPU', report).group(1)
        expect(backend == ('ext' if operators else 'torch'), f'the CPU operators are {backend}\n{report}')
        environment.run('-c', MODEL_ZOO)
        environment.run(package / '.mim' / DATA, 'data/shapes', '--train', '4', '--val', '1')
        environment.run(package / '.mim/tools/train.py', package / '.mim' / CONFIG, '--work-dir', 'run', '--cfg-options', *SHORT)
        expect((environment.folder / 'run/iter_1.pth').is_file(), 'training left no checkpoint')


def main() -> None:
    wheel = Path(sys.argv[1])
    check_wheel(wheel, operators='none-any' not in wheel.name)


if __name__ == '__main__':
    main()
