"""Data flows down the rooms of the package: what each may import stands in the two tables below, and nothing else is imported.

Imports inside functions and under ``TYPE_CHECKING`` count too. The standard library is free.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = 'dht_mm'

# Which rooms a room may import.
ROOMS = {
    'structures': (),
    'ops': (),
    'tokenizer': ('structures', 'ops'),
    'features': ('structures', 'ops'),
    'embedding': ('structures',),
    'encoder': (),
    'backbones': ('structures', 'ops', 'tokenizer', 'features', 'embedding', 'encoder'),
    'necks': ('structures', 'ops'),
    'losses': ('structures', 'ops'),
    'heads': ('structures', 'ops'),
    'segmentors': ('structures',),
    'datasets': (),
    'saliency': ('structures', 'embedding'),
    'metrics': ('structures',),
    'vector': ('structures',),
    'visualization': ('structures', 'vector'),
    'engine': ('ops', 'encoder'),
    'converters': ('embedding',),
}

# Which distributions a room may import. Toolkits and the registry are open only to files that register a class: everything below
# that class is plain torch. A room that is not in TOOLKITS registers nothing.
OUTSIDE = dict.fromkeys(ROOMS, ('torch',)) | {
    'datasets': ('numpy',),
    'metrics': ('torch', 'numpy'),
    'vector': ('numpy',),
    'visualization': ('torch', 'numpy', 'PIL', 'matplotlib'),  # which mmengine requires
    'engine': ('torch', 'mmengine'),
}
TOOLKITS = {
    'tokenizer': ('mmengine', 'skimage'),
    'backbones': ('mmengine',),
    'necks': ('mmengine',),
    'losses': (),
    'heads': ('mmengine', 'mmseg'),
    'segmentors': ('mmengine', 'mmseg'),
    'datasets': ('mmcv', 'mmseg'),
    'metrics': ('mmengine',),
    'visualization': ('mmengine',),
    'engine': ('mmengine',),
}
# The files beside the rooms, which import no room, and their distributions.
ROOT_FILES = {'__init__': (), 'doctor': (), 'model_zoo': ('mmpretrain',), 'registry': ('mmengine',), 'version': ()}


def imported_modules(tree: ast.AST, package: str) -> Iterator[str]:
    """Full dotted names of what a file of ``package`` imports, relative imports resolved; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split('.')
            base = parents[:len(parents) - node.level + 1] if node.level else []
            yield from ('.'.join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)


def registers(tree: ast.AST) -> bool:
    """Whether a class of the file is decorated with ``@….register_module()``."""
    decorators = (decorator for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for decorator in node.decorator_list)
    return any('register_module' in ast.unparse(decorator) for decorator in decorators)


def violations(path: str, source: str) -> list[str]:
    """Imports that a file of the package must not have.

    Args:
        path: The file, relative to the repository, with forward slashes.
        source: Its text.
    """
    tree = ast.parse(source)
    *parents, name = path.removesuffix('.py').split('/')
    room = parents[1] if len(parents) > 1 else name
    if room not in (ROOMS if len(parents) > 1 else ROOT_FILES):
        return [f'{path}: {room} is no room of the map']
    wrong = [module for module in imported_modules(tree, '.'.join(parents)) if not _allowed(module, room, registers(tree))]
    return [f'{path}: {room} must not import {module}' for module in wrong]


def _allowed(module: str, room: str, registering: bool) -> bool:
    top, below = (*module.split('.'), '__init__')[:2]
    if top in sys.stdlib_module_names:
        return True
    if room in ROOT_FILES:
        return top in ROOT_FILES[room] or (top == PACKAGE and below in ROOT_FILES)
    if top == PACKAGE:
        return below == room or below in ROOMS[room] or (below == 'registry' and room in TOOLKITS and registering)
    return top in OUTSIDE[room] or (top in TOOLKITS.get(room, ()) and registering)


def tool_violations(path: str, source: str, siblings: set[str]) -> list[str]:
    """Imports of the project's own code, other than the package and scripts of the same folder, in a file under ``tools/``."""
    own = {entry.stem for entry in ROOT.iterdir()} - {PACKAGE} - siblings
    modules = imported_modules(ast.parse(source), path.rpartition('/')[0].replace('/', '.'))
    return [f'{path}: tools must not import {module}' for module in modules if module.split('.')[0] in own]


def test_rooms_import_only_what_the_map_allows():
    files = sorted((ROOT / PACKAGE).rglob('*.py'))
    wrong = [line for file in files for line in violations(file.relative_to(ROOT).as_posix(), file.read_text())]
    assert files and not wrong, '\n'.join(wrong)


def test_tools_import_the_package_and_nothing_else_of_the_project():
    files = sorted((ROOT / 'tools').rglob('*.py'))
    wrong = [line for file in files for line in tool_violations(
        file.relative_to(ROOT).as_posix(), file.read_text(), {sibling.stem for sibling in file.parent.glob('*.py')})]
    assert files and not wrong, '\n'.join(wrong)


def test_map_has_no_cycle():
    seen = set()
    rooms = dict(ROOMS)
    while free := [room for room, below in rooms.items() if set(below) <= seen]:
        seen |= {*free}
        rooms = {room: below for room, below in rooms.items() if room not in seen}
    assert not rooms


REGISTERED = '@MODELS.register_module()\nclass A: pass\n'


@pytest.mark.parametrize('path, source', [
    ('dht_mm/structures/a.py', 'from dht_mm.ops import b'),
    ('dht_mm/structures/a.py', 'from ..ops import b'),
    ('dht_mm/structures/a.py', 'from .. import ops'),
    ('dht_mm/ops/reference/a.py', 'from ...structures import b'),
    ('dht_mm/ops/a.py', 'def f():\n    import numpy'),
    ('dht_mm/encoder/a.py', 'import mmengine.model'),
    ('dht_mm/features/a.py', 'from dht_mm.registry import MODELS\n' + REGISTERED),
    ('dht_mm/tokenizer/a.py', 'from mmengine.model import BaseModule'),
    ('dht_mm/tokenizer/a.py', 'from dht_mm.registry import MODELS'),
    ('dht_mm/tokenizer/a.py', 'import mmseg\n' + REGISTERED),
    ('dht_mm/heads/a.py', 'from dht_mm.losses import b'),
    ('dht_mm/vector/a.py', 'import tools.train'),
    ('dht_mm/attic/a.py', ''),
    ('dht_mm/utils.py', ''),
    ('dht_mm/registry.py', 'from .tokenizer import a'),
    ('dht_mm/__init__.py', 'import torch'),
])
def test_forbidden_import_is_found(path: str, source: str):
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize('path, source', [
    ('dht_mm/structures/a.py', 'import torch.nn.functional as F\nfrom .b import c\nimport math'),
    ('dht_mm/ops/reference/a.py', 'from ..b import c\nfrom . import d'),
    ('dht_mm/tokenizer/a.py', 'from dht_mm.registry import MODELS\nfrom mmengine.model import BaseModule\n' + REGISTERED),
    ('dht_mm/heads/a.py', 'from mmseg.models import b\nfrom ..registry import MODELS\nfrom ..structures import c\n' + REGISTERED),
])
def test_allowed_import_is_not_reported(path: str, source: str):
    assert violations(path, source) == []


def test_tool_importing_tests_is_found():
    assert tool_violations('tools/a.py', 'from tests import conftest', set())
    assert not tool_violations('tools/a.py', 'from dht_mm.ops import b\nimport sibling\nimport numpy', {'sibling'})
