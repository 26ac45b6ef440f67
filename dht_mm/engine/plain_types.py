"""Checkpoints of tensors and plain types only, which ``torch.load(..., weights_only=True)`` reads without trusting the file."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

HISTORY = 'mmengine.logging.HistoryBuffer'  # the key that marks a dict as one


def to_plain(value: Any) -> Any:
    """A copy of nested containers in which histories of mmengine are dicts, and arrays and numbers of numpy those of torch and Python."""
    if isinstance(value, HistoryBuffer):
        values, counts = value.data
        return {HISTORY: dict(values=torch.as_tensor(values).clone(), counts=torch.as_tensor(counts).clone(), max_length=value.max_length)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(to_plain(item) for item in value)
    if isinstance(value, Tensor) or not hasattr(value, 'dtype') or not hasattr(value, 'tolist'):
        return value
    return torch.as_tensor(value) if value.shape else value.item()


def from_plain(value: Any) -> Any:
    """Histories again where :func:`to_plain` made dicts of them."""
    if not isinstance(value, Mapping):
        return value
    if HISTORY not in value:
        return {key: from_plain(item) for key, item in value.items()}
    history = value[HISTORY]
    return HistoryBuffer(history['values'].cpu().numpy(), history['counts'].cpu().numpy(), history['max_length'])
