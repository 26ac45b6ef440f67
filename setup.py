"""Package metadata. Everything static about the build itself (backend, linters, pytest) is in pyproject.toml.

The OpenMMLab toolkits are extras and not requirements: two families of distributions provide the same import names (the
maintained OneDL builds named here; the original mmengine, mmcv-lite, mmsegmentation, mmpretrain), and installing one over the
other breaks both. Whoever has the original family installs this package without extras.

torchvision, which mmpretrain imports, is not listed either: each torchvision wheel pins one exact torch build, and a resolver
would replace an installed torch to satisfy it.

The compiled operators are optional (environment variable DHT_MM_WITH_OPS: 0 never builds them, 1 makes a failed build an error);
tools/ops/build_library.py, which compiles them, names the other variables.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, find_namespace_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
LIBRARY = 'dht_mm.ops._ext'
MMENGINE = ['onedl-mmengine>=0.10.12', 'onedl-mmcv>=2.3.6']


def read_version() -> str:
    """The version string of dht_mm/version.py, read without importing the package (torch need not be installed to build)."""
    return re.search(r"__version__ = '([^']+)'", (ROOT / 'dht_mm/version.py').read_text()).group(1)


def read_readme() -> str:
    """The long description; empty where a partial checkout has no README."""
    readme = ROOT / 'README.md'
    return readme.read_text() if readme.is_file() else ''


class BuildWithConfigs(build_py):
    """Also puts configs, their index and tools into ``dht_mm/.mim``, where OpenMMLab's toolkits keep theirs in an installed package."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder in ('configs', 'tools'):
            target = Path(self.build_lib) / 'dht_mm/.mim' / folder
            shutil.copytree(ROOT / folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copy(ROOT / 'model-index.yml', Path(self.build_lib) / 'dht_mm/.mim')


def with_ops() -> str:
    """The value of DHT_MM_WITH_OPS: ``'0'``, ``'1'``, or empty to build the operators where that is possible."""
    value = os.environ.get('DHT_MM_WITH_OPS', '')
    if value not in ('', '0', '1'):
        raise SystemExit(f'DHT_MM_WITH_OPS must be 0, 1 or unset, got {value!r}')
    return value


def torch_environment() -> dict[str, str]:
    """Variables under which this Python finds torch. In pip's isolated builds two of them hide what is installed."""
    hiding = () if find_spec('torch') else ('PYTHONPATH', 'PYTHONNOUSERSITE')
    return {name: value for name, value in os.environ.items() if name not in hiding}


class BuildOps(build_ext):
    """Compiles the operators into a library that uses nothing of Python, so that its name holds no version of Python."""

    def get_ext_filename(self, fullname: str) -> str:
        return os.path.join(*fullname.split('.')) + '.so'

    def build_extensions(self) -> None:
        library = self.get_ext_fullpath(LIBRARY)
        command = [sys.executable, ROOT / 'tools/ops/build_library.py', library]
        if subprocess.run(command, env=torch_environment()).returncode == 0:
            return
        if with_ops() == '1':
            raise SystemExit('dht_mm: DHT_MM_WITH_OPS=1, but the compiled operators cannot be built, see above')
        print('dht_mm: no compiled operators, see above; the pure-torch backend will be used', file=sys.stderr)
        self.extensions = []  # nothing to copy into the wheel or, of an editable install, into the checkout
        if self.editable_mode:
            (ROOT / self.get_ext_filename(LIBRARY)).unlink(missing_ok=True)  # of older sources


setup(
    name='dht_mm',
    version=read_version(),
    description='Differentiable hierarchical visual tokenization (dHT) for OpenMMLab: pixel-exact tokens for vision transformers',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    packages=find_namespace_packages(include=['dht_mm', 'dht_mm.*'], exclude=['dht_mm.ops.csrc*']),
    package_data={'dht_mm.tokenizer': ['weights/*.pth']},
    ext_modules=[] if with_ops() == '0' else [Extension(LIBRARY, sources=[])],
    cmdclass={'build_ext': BuildOps, 'build_py': BuildWithConfigs},
    # One wheel for all versions of Python; free-threaded ones, which have no limited API, get one of their own.
    options={} if sysconfig.get_config_var('Py_GIL_DISABLED') else {'bdist_wheel': {'py_limited_api': 'cp310'}},
    python_requires='>=3.10',
    install_requires=['numpy>=1.26', 'pillow>=10.1', 'torch>=2.6'],
    extras_require={
        'docs': ['furo>=2024.8', 'myst-parser>=4', 'sphinx>=8'],
        'lint': ['codespell[toml]>=2.3', 'mypy>=1.13', 'pytest-cov>=5'],
        'seg': [*MMENGINE, 'onedl-mmsegmentation>=1.4.2'],
        'cls': [*MMENGINE, 'onedl-mmpretrain>=1.3.6'],
        'dev': ['cairosvg>=2.7', 'hypothesis>=6.100', 'ipykernel>=6.29', 'nbclient>=0.10', 'pytest>=8', 'pytest-xdist>=3.5',
                'resvg-py>=0.5', 'ruff>=0.6', 'scikit-image>=0.24', 'selenium>=4.20', 'timm>=1.0.9'],
    },
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
)
