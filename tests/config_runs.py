"""Running the configs by scripts, as users do."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

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


def toolkit_script(toolkit: str, name: str) -> Path:
    return Path(find_spec(toolkit).submodule_search_locations[0]) / '.mim/tools' / name


def metrics(folder: Path) -> dict[str, float]:
    return json.loads(next(folder.glob('*/*.json')).read_text())


def losses(output: str) -> list[float]:
    return [float(value) for value in re.findall(r'\bloss: ([\d.eE+-]+|nan)', output)]
