"""Running the configs by scripts, as users do."""

import json
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / 'configs/dht').rglob('*.py'))


def find(pattern: str) -> Path:
    """The one config whose name fits."""
    path, = (path for path in CONFIGS if re.search(pattern, path.stem))
    return path


def run(folder: Path, script: Path, *arguments: str | Path) -> str:
    """The output of a script that must succeed."""
    command = [sys.executable, '-W', 'ignore', script, *arguments]
    result = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout[-4000:]
    return result.stdout


def run_here(folder: Path, script: Path, *arguments: str | Path) -> None:
    """Run a script of mmsegmentation in a folder, in this process, which spares the imports."""
    from mmseg.visualization import SegLocalVisualizer

    SegLocalVisualizer._instance_dict.clear()  # the one of the run before would write into that run's folder
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, 'argv', [*map(str, (script, *arguments))])
        runpy.run_path(str(script), run_name='__main__')


def toolkit_script(toolkit: str, name: str) -> Path:
    return Path(find_spec(toolkit).submodule_search_locations[0]) / '.mim/tools' / name


def metrics(folder: Path) -> dict[str, float]:
    return json.loads(next(folder.glob('*/*.json')).read_text())


def losses(output: str) -> list[float]:
    return [float(value) for value in re.findall(r'\bloss: ([\d.eE+-]+|nan)', output)]
