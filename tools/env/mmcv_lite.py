"""Lets mmcv-lite's ``mmcv.ops`` be imported, which the upstream toolkits do although nothing here calls those operators.

mmcv-lite has the Python part of the operators and not their compiled library. This module stands in for the library where there is
none: every operator is there by name, and calling one fails. ``setup_env.py`` installs it into the environment of
``make test-upstream``, with a ``.pth`` line that imports it at start-up.
"""

import importlib.abc
import importlib.machinery
import sys
from types import ModuleType

NAME = 'mmcv._ext'


class _Placeholder(ModuleType):
    """A module of which every public name is a function that fails."""

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args, **kwargs):
            raise NotImplementedError(f'{name} is compiled code, which mmcv-lite does not have')
        return missing


class _BehindAllOthers(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked last, so that a real library is found first."""

    def find_spec(self, fullname, path=None, target=None):
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == NAME else None

    def create_module(self, spec):
        return _Placeholder(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.append(_BehindAllOthers())
