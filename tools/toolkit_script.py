"""Finds the toolkit that a config belongs to and runs that toolkit's own script, unmodified."""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

# default_scope of a config -> extra of this package that installs the toolkit
TOOLKITS = {'mmseg': 'seg', 'mmpretrain': 'cls'}
CONFIG_SUFFIXES = ('.py', '.json', '.yaml', '.yml')


def find_config(arguments: list[str]) -> str | None:
    """The first argument that is a config file's name; None if there is none."""
    names = (argument for argument in arguments if not argument.startswith('-') and '=' not in argument)
    return next((name for name in names if name.endswith(CONFIG_SUFFIXES)), None)


def find_script(config: str, script: str) -> Path:
    """The script of the toolkit that the config's ``default_scope`` names.

    Args:
        config: Path of a config file.
        script: File name in the toolkit's folder of tools, such as ``'train.py'``.

    Raises:
        FileNotFoundError: There is no such config, or the installed toolkit has no such script.
        ValueError: The config names no toolkit, or one that this project has no models for.
        ModuleNotFoundError: The toolkit is not installed.
    """
    if not Path(config).is_file():
        raise FileNotFoundError(f'config must be a file, but {config} does not exist')
    scope = Config.fromfile(config, import_custom_modules=False).get('default_scope')
    if scope not in TOOLKITS:
        raise ValueError(f'default_scope of {config} must be one of {", ".join(TOOLKITS)}, got {scope!r}')
    spec = find_spec(scope)
    if spec is None:
        raise ModuleNotFoundError(f"{config} needs {scope}, which is not installed: pip install 'dht_mm[{TOOLKITS[scope]}]'")
    path = Path(spec.submodule_search_locations[0]) / '.mim/tools' / script
    if not path.is_file():
        raise FileNotFoundError(f'{scope} is installed without its tools: {path} does not exist')
    return path


def run_toolkit_script(script: str, usage: str) -> None:
    """Runs ``script`` of the config's toolkit with all arguments of the command line, as if it had been called itself.

    Args:
        script: File name in the toolkits' folders of tools.
        usage: What to print when no config is named.
    """
    arguments = sys.argv[1:]
    config = find_config(arguments)
    if config is None:
        print(usage.strip())
        raise SystemExit(0 if {'-h', '--help'} & set(arguments) else 2)
    try:
        path = find_script(config, script)
    except (FileNotFoundError, ModuleNotFoundError, ValueError) as error:
        raise SystemExit(f'{Path(sys.argv[0]).name}: {error}') from None
    sys.argv[0], sys.path[0] = str(path), str(path.parent)
    runpy.run_path(str(path), run_name='__main__')
