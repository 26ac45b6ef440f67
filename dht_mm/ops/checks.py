"""Checks that several operators share. None of them waits for the device."""

from torch import Tensor


def check_devices(**tensors: Tensor | None) -> None:
    """Raise unless all named tensors are on the same device: compiled kernels would read from the wrong memory."""
    devices = {name: str(tensor.device) for name, tensor in tensors.items() if tensor is not None}
    if len({*devices.values()}) > 1:
        raise ValueError(f'{", ".join(devices)} must be on one device, got {", ".join(devices.values())}')


def check_labels(labels: Tensor, offsets: Tensor, **others: Tensor | None) -> None:
    """Raise unless ``labels`` are an integer ``[B, H, W]``, ``offsets`` its ``[B + 1]`` first rows, and all tensors on one device."""
    check_devices(labels=labels, offsets=offsets, **others)
    if labels.is_floating_point() or offsets.is_floating_point():
        raise TypeError(f'labels and offsets must be integers, got {labels.dtype} and {offsets.dtype}')
    if labels.dim() != 3 or offsets.shape != (len(labels) + 1,):
        raise ValueError(
            f'labels and offsets must be [B, H, W] and [B + 1], got {tuple(labels.shape)} and {tuple(offsets.shape)}')


def check_positive(**values: int) -> None:
    """Raise unless every named value is a positive integer."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f'{name} must be a positive integer, got {value!r}')
