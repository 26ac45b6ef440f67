"""Checks that several operators share. None of them waits for the device."""

import torch
from torch import Tensor

INTEGERS = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}


def check_tensors(**values: Tensor) -> None:
    """Raise unless every named value is a tensor."""
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise TypeError(f'{name} must be a torch.Tensor, got {value!r}')


def check_devices(**tensors: Tensor) -> None:
    """Raise unless all are tensors on the same device: compiled kernels would read from the wrong memory."""
    check_tensors(**tensors)
    devices = {name: str(tensor.device) for name, tensor in tensors.items()}
    if len({*devices.values()}) > 1:
        raise ValueError(f'{", ".join(devices)} must be on one device, got {", ".join(devices.values())}')


def check_labels(labels: Tensor, offsets: Tensor, **others: Tensor) -> None:
    """Raise unless ``labels`` are an integer ``[B, H, W]``, ``offsets`` its ``[B + 1]`` first rows, and all tensors on one device."""
    check_devices(labels=labels, offsets=offsets, **others)
    if not {labels.dtype, offsets.dtype} <= INTEGERS:
        raise TypeError(f'labels and offsets must be integers, got {labels.dtype} and {offsets.dtype}')
    if labels.dim() != 3 or offsets.shape != (len(labels) + 1,):
        raise ValueError(
            f'labels and offsets must be [B, H, W] and [B + 1], got {tuple(labels.shape)} and {tuple(offsets.shape)}')


def check_count(**values: int | torch.SymInt) -> None:
    """Raise unless every named value is an integer of at least 0; graphs that are being recorded have symbols or tensors for them."""
    for name, value in values.items():
        if isinstance(value, Tensor) and torch._C._get_tracing_state() is not None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, torch.SymInt)) or isinstance(value, int) and not 0 <= value < 2**31:
            raise ValueError(f'{name} must be an integer from 0 to 2^31 - 1, got {value!r}')


def check_positive(**values: int) -> None:
    """Raise unless every named value is a positive integer."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f'{name} must be a positive integer, got {value!r}')


def check_grid(grid: tuple[int, int]) -> None:
    """Raise unless ``grid`` is two positive integers."""
    if not isinstance(grid, (tuple, list)) or len(grid) != 2:
        raise ValueError(f'grid must be two numbers of cells, along y and along x, got {grid!r}')
    check_positive(grid_y=grid[0], grid_x=grid[1])
