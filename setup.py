"""Package metadata. Everything static about the build itself (backend, linters, pytest) is in pyproject.toml.

The OpenMMLab toolkits are extras and not requirements: two families of distributions provide the same import names (the
maintained OneDL builds named here; the original mmengine, mmcv-lite, mmsegmentation, mmpretrain), and installing one over the
other breaks both. Whoever has the original family installs this package without extras.

torchvision, which mmpretrain imports, is not listed either: each torchvision wheel pins one exact torch build, and a resolver
would replace an installed torch to satisfy it.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MMENGINE = ['onedl-mmengine>=0.10.12', 'onedl-mmcv>=2.3.6']


def read_version() -> str:
    """The version string of dht_mm/version.py, read without importing the package (torch need not be installed to build)."""
    return re.search(r"__version__ = '([^']+)'", (ROOT / 'dht_mm/version.py').read_text()).group(1)


def read_readme() -> str:
    """The long description; empty where a partial checkout has no README."""
    readme = ROOT / 'README.md'
    return readme.read_text() if readme.is_file() else ''


class BuildWithConfigs(build_py):
    """Also puts configs and tools into ``dht_mm/.mim``, where OpenMMLab's toolkits keep theirs in an installed package."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder in ('configs', 'tools'):
            target = Path(self.build_lib) / 'dht_mm/.mim' / folder
            shutil.copytree(ROOT / folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns('__pycache__'))


setup(
    name='dht_mm',
    version=read_version(),
    description='Differentiable hierarchical visual tokenization (dHT) for OpenMMLab: pixel-exact tokens for vision transformers',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    packages=find_namespace_packages(include=['dht_mm', 'dht_mm.*']),
    cmdclass={'build_py': BuildWithConfigs},
    python_requires='>=3.10',
    install_requires=['numpy>=1.26', 'pillow>=10', 'torch>=2.4'],
    extras_require={
        'seg': [*MMENGINE, 'onedl-mmsegmentation>=1.4.2'],
        'cls': [*MMENGINE, 'onedl-mmpretrain>=1.3.6'],
        'dev': ['hypothesis>=6.100', 'pytest>=8', 'pytest-xdist>=3.5', 'ruff>=0.6', 'scikit-image>=0.24', 'timm>=1.0.9'],
    },
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
)
