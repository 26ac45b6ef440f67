"""Which implementation runs under the ops: pure torch, or the compiled library where it is built and fits the device.

``DHT_MM_OPS_BACKEND`` is ``auto`` (compiled where possible), ``torch`` or ``ext`` (compiled or an error); :func:`use_backend`
changes it for a block of code. Both give the same answers.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

BACKENDS = ('auto', 'torch', 'ext')
LIBRARY = Path(__file__).with_name('_ext.so')
OLDEST_TORCH = (2, 10)  # with what the library uses of torch
# A plain list and no context variable: autograd runs backward ops in threads of its own, which must see the same choice.
_choices: list[str] = []


@cache
def _load() -> tuple[bool, str]:
    """Load the compiled library once; whether it is there, and what to say about it."""
    if not LIBRARY.exists():
        return False, 'no compiled library was built with this installation (pip install -v shows why)'
    if torch.__version__ < OLDEST_TORCH:
        return False, f'{LIBRARY.name} needs torch {".".join(map(str, OLDEST_TORCH))} or newer, this is {torch.__version__}'
    try:
        torch.ops.load_library(str(LIBRARY))
    except OSError as error:
        return False, f'{LIBRARY.name} does not load with torch {torch.__version__}: {error}'
    return True, f'loaded {LIBRARY.name}'


@cache
def _has_kernels(device: str) -> bool:
    key = {'cpu': 'CPU', 'cuda': 'CUDA'}.get(device)
    return key is not None and torch._C._dispatch_has_kernel_for_dispatch_key('dht_mm_ext::build_hierarchy', key)


def _chosen() -> str:
    choice = _choices[-1] if _choices else os.environ.get('DHT_MM_OPS_BACKEND', 'auto')
    if choice not in BACKENDS:
        raise ValueError(f'DHT_MM_OPS_BACKEND must be one of {BACKENDS}, got {choice!r}')
    return choice


def use_ext(tensor: torch.Tensor, dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.int32)) -> bool:
    """Whether the compiled kernels serve this tensor: one of ``dtypes``, on a device they were built for, and not switched off.

    Raises:
        RuntimeError: The backend ``ext`` was asked for and cannot serve the tensor.
        ValueError: ``DHT_MM_OPS_BACKEND`` names no backend.
    """
    choice = _chosen()
    if choice == 'torch':
        return False
    loaded, why = _load()
    served = loaded and tensor.dtype in dtypes and _has_kernels(tensor.device.type)
    if choice == 'ext' and not served:
        why = why if not loaded else f'it has no {tensor.dtype} kernels for {tensor.device.type}'
        raise RuntimeError(f"ops backend 'ext' was asked for, but the compiled library cannot be used: {why}")
    return served


def contiguous_ints(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Integer tensors as the compiled kernels read them."""
    return tuple(tensor.int().contiguous() for tensor in tensors)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Choose the backend of the ops in a block: ``'auto'``, ``'torch'`` or ``'ext'``.

    Raises:
        ValueError: ``name`` is none of these.
    """
    if name not in BACKENDS:
        raise ValueError(f'name must be one of {BACKENDS}, got {name!r}')
    _choices.append(name)
    try:
        yield
    finally:
        _choices.pop()


def backend_info() -> dict[str, str | bool]:
    """What is in use and why.

    Returns:
        ``choice``: ``'auto'``, ``'torch'`` or ``'ext'``; ``loaded``: whether the compiled library is; ``library``: what became of
        loading it; ``cpu`` and ``cuda``: what serves the tensors of each device, ``'ext'`` or ``'torch'``.
    """
    loaded, why = _load()
    info: dict[str, str | bool] = dict(choice=_chosen(), loaded=loaded, library=why)
    for device in ('cpu', 'cuda'):
        info[device] = 'ext' if loaded and info['choice'] != 'torch' and _has_kernels(device) else 'torch'
    return info
