"""What is installed, which operators run and why, whether the toolkits find this package, and a self-test of two seconds.

    python -m dht_mm.doctor

prints a report to paste into a question. The exit code is 1 if something that is installed does not work. Everything is imported
inside a check, so that a broken installation is reported and not a traceback.
"""

import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from .version import __version__

PACKAGE = Path(__file__).resolve().parent
FAMILIES = {
    'OneDL': ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation', 'onedl-mmpretrain'),
    'original': ('mmengine', 'mmcv', 'mmcv-lite', 'mmsegmentation', 'mmpretrain'),
}
DISTRIBUTIONS = ('torch', 'torchvision', 'numpy', 'pillow', 'scikit-image', 'timm', *FAMILIES['OneDL'], *FAMILIES['original'])
# Toolkit -> a class of this package that its registry must find.
TOOLKITS = {'mmengine': 'DHTViT', 'mmseg': 'TokenHead', 'mmpretrain': 'KNNClassifier'}
OK, NOTE, FAILED = 'ok', 'note', 'FAILED'
INDENT = ' ' * 10  # of the second line of a finding and those after it


class Finding(NamedTuple):
    """The result of a check.

    Attributes:
        status: ``OK``, ``NOTE`` (works, but not all that could) or ``FAILED``.
        text: What was found.
    """

    status: str
    text: str


def diagnose(check: Callable[[], Finding]) -> Finding:
    """The result of a check; its error where it has one. ``SystemExit`` counts: some packages leave that way."""
    try:
        return check()
    except (Exception, SystemExit) as error:
        return Finding(FAILED, f'{type(error).__name__}: {error}')


def installed() -> dict[str, str]:
    """Versions of the distributions that matter here."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def header() -> str:
    """Versions and places."""
    versions = ', '.join(f'{name} {version}' for name, version in installed().items())
    return (f'dht_mm {__version__} in {PACKAGE}\n'
            f'Python {platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores\n{versions}')


def check_families() -> Finding:
    """Only one of the two families of toolkits may be there: their packages have the same names."""
    families = {family: [name for name in names if name in installed()] for family, names in FAMILIES.items()}
    if all(families.values()):
        both = [name for names in families.values() for name in names]
        return Finding(FAILED, f'toolkits of two families overwrite one another, start with a fresh environment: {", ".join(both)}')
    names = ', '.join(family for family, found in families.items() if found) or 'none'
    advice = '; with torch 2.6 or newer checkpoints need TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1' if families['original'] else ''
    return Finding(OK, f'family of toolkits: {names}{advice}')


def check_torch() -> Finding:
    """torch starts; its devices."""
    torch = import_module('torch')
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    devices = f'CUDA {torch.version.cuda}: {", ".join(gpus)}' if gpus else 'no GPU'
    return Finding(OK, f'torch {torch.__version__}, {torch.get_num_threads()} threads, {devices}')


def check_operators() -> Finding:
    """Which kernels run, and why."""
    backend = import_module('dht_mm.ops.backend')
    info = backend.backend_info()
    text = f'operators: {info["cpu"]} on the CPU, {info["cuda"]} on GPUs; {info["library"]}'
    if info['choice'] != 'auto':
        text += f'; DHT_MM_OPS_BACKEND={info["choice"]}'
    if not info['loaded']:
        usable = import_module('torch').__version__ >= backend.OLDEST_TORCH
        broken = info['choice'] == 'ext' or usable and backend.LIBRARY.exists()
        return Finding(FAILED if broken else NOTE, text + '\nthe pure-torch definition gives the same results, more slowly: docs/ops.md')
    if info['choice'] != 'torch' and info['cuda'] == 'torch' and import_module('torch').cuda.is_available():
        return Finding(NOTE, text + '\nit was compiled for the CPU alone, although there is a GPU: docs/ops.md')
    return Finding(OK, text)


def check_room(room: str) -> Finding:
    """A room is imported; one that lacks a toolkit only cannot be used."""
    try:
        names = import_module(f'dht_mm.{room}').__all__
    except ModuleNotFoundError as error:
        if (error.name or '').partition('.')[0] in TOOLKITS:
            return Finding(NOTE, f'dht_mm.{room}: needs {error.name}')
        raise
    return Finding(OK, f'dht_mm.{room}: {len(names)} names')


def check_rooms() -> Finding:
    """All rooms."""
    rooms = sorted(path.parent.name for path in PACKAGE.glob('*/__init__.py'))
    findings = {room: diagnose(partial(check_room, room)) for room in rooms}
    lines = [finding.text if finding.status == NOTE else f'dht_mm.{room}: {finding.text}'
             for room, finding in findings.items() if finding.status != OK]
    statuses = {finding.status for finding in findings.values()}
    worst = next(status for status in (FAILED, NOTE, OK) if status in statuses)
    working = sum(finding.status == OK for finding in findings.values())
    return Finding(worst, '\n'.join([f'rooms: {working} of {len(rooms)} can be imported', *lines]))


def check_toolkit(toolkit: str) -> Finding:
    """A toolkit finds this package by the prefix of a type."""
    if find_spec(toolkit) is None:
        return Finding(NOTE, f'{toolkit} is not installed, so {TOOLKITS[toolkit]} is not there')
    name = f'dht_mm.{TOOLKITS[toolkit]}'
    registry = import_module('dht_mm.registry' if toolkit == 'mmengine' else f'{toolkit}.registry').MODELS
    found = registry.get(name.removeprefix('dht_mm.') if toolkit == 'mmengine' else name)
    return Finding(OK if found else FAILED, f'{toolkit}: {"finds" if found else "does not find"} {name}')


def self_test() -> Finding:
    """The regions of random images are a partition, the same alone, in a batch, by the definition and on a GPU."""
    torch, ops = import_module('torch'), import_module('dht_mm.ops')
    start = time.perf_counter()
    features = torch.randn(2, 8, 48, 64, generator=torch.Generator().manual_seed(0)).cumsum(3) / 4
    maps = torch.zeros(8), torch.tensor(-6.0)
    batch = ops.build_hierarchy(features, *maps)
    if int(batch.size.sum()) != batch.labels.numel():
        return Finding(FAILED, 'self-test: the regions do not cover the images')
    for index in range(2):
        if not torch.equal(ops.build_hierarchy(features[index:index + 1], *maps).labels[0], batch.labels[index]):
            return Finding(FAILED, f'self-test: image {index} has other regions alone than in a batch')
    with ops.use_backend('torch'):
        others = {'the pure-torch definition': ops.build_hierarchy(features, *maps)}
    if torch.cuda.is_available():
        others['the GPU'] = ops.build_hierarchy(features.cuda(), *(value.cuda() for value in maps))
    for name, other in others.items():
        for field in ('labels', 'size', 'bbox', 'mean'):
            if not torch.equal(getattr(other, field).cpu(), getattr(batch, field)):
                return Finding(FAILED, f'self-test: {field} from {name} differ from those of the CPU: please report it')
    return Finding(OK, f'self-test: {batch.size.shape[0]} regions of 2 images, the same in a batch and by {" and ".join(others)}, '
                       f'{time.perf_counter() - start:.1f} s')


def self_test_model() -> Finding:
    """A small backbone is trained for a step."""
    if find_spec('mmengine') is None:
        return Finding(NOTE, 'no test of a model without mmengine')
    torch = import_module('torch')
    start = time.perf_counter()
    model = import_module('dht_mm.backbones').DHTViT(arch=dict(embed_dims=16, num_layers=1, num_heads=2), img_size=48, patch_size=4)
    model(torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(0)))[-1].square().sum().backward()
    untrained = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.isfinite().all()]
    if untrained:
        return Finding(FAILED, f'model: no finite gradient for {", ".join(untrained)}')
    return Finding(OK, f'model: a step of a small DHTViT reaches every parameter, {time.perf_counter() - start:.1f} s')


def main() -> int:
    """Print the report; the exit code."""
    warnings.simplefilter('ignore')  # toolkits warn of what they lack themselves, which is nothing that this package needs
    toolkits = [partial(check_toolkit, toolkit) for toolkit in TOOLKITS]
    checks: list[Callable[[], Finding]] = [check_families, check_torch, check_operators, check_rooms, *toolkits, self_test, self_test_model]
    print(header(), flush=True)
    failed = 0
    for check in checks:
        status, text = diagnose(check)
        failed += status == FAILED
        print(f'{f"[{status}]":{len(INDENT)}}' + text.strip().replace('\n', f'\n{INDENT}'), flush=True)
    print(f'{failed} of {len(checks)} checks failed: docs/troubleshooting.md' if failed else 'everything that is installed works')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
