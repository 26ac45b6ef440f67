"""Compiles the operators' kernels in dht_mm/ops/csrc into the library that dht_mm/ops/backend.py loads.

    python tools/ops/build_library.py [LIBRARY]

The library uses torch's stable ABI and nothing of Python: built with any torch from 2.10 on, it serves all of these and every
Python. It holds the CPU kernels, and the CUDA ones where torch has CUDA, nvcc is there and a GPU is visible.
Environment variables:

    CXX, CXXFLAGS         C++20 compiler (default c++) and further flags for it, e.g. a sanitizer's
    MAX_JOBS              files compiled at once (default: one for each processor)
    FORCE_CUDA=1          build the CUDA kernels although no GPU is visible; that they cannot be built is an error then
    CUDA_HOME             toolkit whose bin/nvcc is used (default: nvcc of the PATH, else of /usr/local/cuda)
    TORCH_CUDA_ARCH_LIST  GPUs to build for, as torch reads it (default: the visible ones, else 8.0;8.6;8.9;9.0+PTX)
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / 'dht_mm/ops/_ext.so'
SOURCES = ROOT / 'dht_mm/ops/csrc'

# The oldest torch whose stable ABI is enough; the headers hide everything newer.
OLDEST_TORCH = (2, 10)
TARGET = f'-DTORCH_TARGET_VERSION={(OLDEST_TORCH[0] << 56) + (OLDEST_TORCH[1] << 48):#x}'
# Without contraction to fused multiply-adds every machine has the same bits. The flags on errno and traps change no value; they
# let loops with square roots and selections become vector code.
CPU_FLAGS = ['-O3', '-std=c++20', '-fPIC', '-ffp-contract=off', '-fno-math-errno', '-fno-trapping-math', TARGET]
CUDA_FLAGS = ['-O3', '-std=c++20', '--fmad=false', '-Xcompiler=-fPIC,-ffp-contract=off', '-DUSE_CUDA', TARGET]
DEFAULT_GPUS = '8.0;8.6;8.9;9.0+PTX'
LAST_LINES = 30


class BuildError(Exception):
    """Why no library can be built, in a sentence."""


def import_torch() -> ModuleType:
    """The torch to build for."""
    try:
        import torch
    except (ImportError, OSError) as error:
        raise BuildError(f'torch cannot be imported ({error}); if it is installed, try --no-build-isolation') from None
    if tuple(map(int, torch.__version__.split('.')[:2])) < OLDEST_TORCH:
        raise BuildError(f'torch {torch.__version__} is older than {OLDEST_TORCH[0]}.{OLDEST_TORCH[1]}')
    return torch


def find_nvcc(torch: ModuleType) -> str | None:
    """The CUDA compiler if CUDA kernels are to be built: a GPU is visible, or ``FORCE_CUDA=1``."""
    forced = os.environ.get('FORCE_CUDA', '0') == '1'
    if not forced and not torch.cuda.is_available():
        return None
    try:
        return matching_nvcc(torch.version.cuda)
    except BuildError as error:
        if forced:
            raise BuildError(f'FORCE_CUDA=1, but {error}') from None
        print(f'CUDA kernels are left out: {error}')
        return None


def matching_nvcc(cuda: str | None) -> str:
    """The nvcc of the CUDA version that torch was built with, apart from the minor number."""
    if cuda is None:
        raise BuildError('this torch has no CUDA')
    home = os.environ.get('CUDA_HOME')
    nvcc = f'{home}/bin/nvcc' if home else shutil.which('nvcc') or '/usr/local/cuda/bin/nvcc'
    release = re.search(r'release (\d+)', run([nvcc, '--version']))
    if not release or release.group(1) != cuda.split('.')[0]:
        raise BuildError(f'torch was built with CUDA {cuda} and {nvcc} is of release {release and release.group(1)}')
    return nvcc


def gpu_flags(torch: ModuleType) -> list[str]:
    """The GPUs to build for, as options of nvcc."""
    from torch.utils.cpp_extension import _get_cuda_arch_flags  # what reads TORCH_CUDA_ARCH_LIST

    if not torch.cuda.is_available():
        os.environ['TORCH_CUDA_ARCH_LIST'] = os.environ.get('TORCH_CUDA_ARCH_LIST') or DEFAULT_GPUS
    try:
        return _get_cuda_arch_flags()
    except ValueError as error:
        raise BuildError(f'TORCH_CUDA_ARCH_LIST={os.environ["TORCH_CUDA_ARCH_LIST"]} cannot be read ({error})') from None


def run(command: list[str]) -> str:
    """What a command prints. Raises BuildError with the end of its messages if it fails."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors='replace')
    except OSError as error:
        raise BuildError(f'{command[0]} cannot be run ({error.strerror})') from None
    if result.returncode:
        messages = '\n'.join((result.stderr or result.stdout).splitlines()[-LAST_LINES:])
        raise BuildError(f'this command failed: {shlex.join(command)}\n{messages}')
    return result.stdout


def jobs() -> int:
    """How many files are compiled at once."""
    number = os.environ.get('MAX_JOBS') or str(os.cpu_count() or 1)
    if not number.isdecimal() or int(number) < 1:
        raise BuildError(f'MAX_JOBS must be a positive integer, got {number!r}')
    return int(number)


def compile_all(compilers: dict[str, list[str]], folder: Path) -> list[str]:
    """Compiles every source that has a compiler, the largest first. Returns the object files."""
    sources = [source for source in SOURCES.rglob('*') if source.suffix in compilers]
    sources.sort(key=lambda source: source.stat().st_size, reverse=True)
    objects = [str(folder / f'{source.parent.name}_{source.name}.o') for source in sources]
    with ThreadPoolExecutor(jobs()) as pool:
        list(pool.map(run, ([*compilers[source.suffix], '-c', str(source), '-o', target]
                            for source, target in zip(sources, objects, strict=True))))
    return objects


def build(library: Path) -> str:
    """Compiles and links; a library that is there is exchanged in one step, because it may be in use. Returns what was built."""
    torch = import_torch()
    nvcc = find_nvcc(torch)
    torch_folder = Path(torch.__file__).parent
    cxx = [*shlex.split(os.environ.get('CXX') or 'c++'), *shlex.split(os.environ.get('CXXFLAGS', ''))]
    include = [f'-I{torch_folder / "include"}', f'-I{SOURCES}']
    compilers = {'.cpp': [*cxx, *CPU_FLAGS, *include]}
    linker, libraries = cxx, ['-ltorch_cpu', '-lc10']
    if nvcc:
        gpus = gpu_flags(torch)
        compilers['.cu'] = [nvcc, *CUDA_FLAGS, *gpus, *include]
        # nvcc links the CUDA runtime statically: the library does not depend on where the toolkit lies.
        linker, libraries = [nvcc], ['-ltorch_cpu', '-ltorch_cuda', '-lc10']
    library.parent.mkdir(parents=True, exist_ok=True)
    linked = library.with_suffix('.partial')
    with tempfile.TemporaryDirectory() as folder:
        objects = compile_all(compilers, Path(folder))
        run([*linker, '-shared', *objects, f'-L{torch_folder / "lib"}', *libraries, '-o', str(linked)])
    linked.replace(library)
    return f'CPU and CUDA kernels ({" ".join(gpus)})' if nvcc else 'CPU kernels'


def main() -> None:
    parser = argparse.ArgumentParser(description='Compile the operators; the head of this file names the environment variables.')
    parser.add_argument('library', type=Path, nargs='?', default=LIBRARY, help='file to write (default: %(default)s)')
    library = parser.parse_args().library.absolute()
    start = time.monotonic()
    try:
        built = build(library)
    except BuildError as error:
        library.unlink(missing_ok=True)  # one of other sources must not be taken for this one
        raise SystemExit(f'The compiled operators cannot be built: {error}') from None
    print(f'{library}: {built}, {time.monotonic() - start:.0f} s')


if __name__ == '__main__':
    main()
