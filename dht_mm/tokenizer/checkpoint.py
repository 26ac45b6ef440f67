"""Weights of a tokenizer from any checkpoint of this project, without running code that the file may carry."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from .shipped import resolve

PUBLISHED_KEY = 'conv.ds.0.weight'
CONVERTER = 'tools/model_converters/dht_reference_to_mm.py'


def load_tokenizer(tokenizer: nn.Module, path: str | Path) -> None:
    """Load the weights of a tokenizer in place.

    The file may hold the tokenizer's own state dict, a checkpoint of mmengine's runner, or a whole model; the prefix of the
    tokenizer's keys (``tokenizer.``, ``backbone.tokenizer.``, ...) is found by itself.

    Args:
        tokenizer: The module to fill.
        path: A file written by ``torch.save``, or the address of a shipped tokenizer.

    Raises:
        FileNotFoundError: There is no file at ``path``.
        ValueError: ``tokenizer`` has no weights, or the file is not a checkpoint, holds no such tokenizer or more than one, or
            lacks, adds or reshapes a weight.
    """
    expected = tokenizer.state_dict()
    if not expected:
        raise ValueError(f'tokenizer must have weights to load, but a {type(tokenizer).__name__} has none')
    found = read_state_dict(path)
    prefix = _find_prefix(found, expected, path)
    weights = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    _check_weights(weights, expected, path)
    tokenizer.load_state_dict(weights)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a checkpoint, on the CPU.

    mmengine saves its message hub (history buffers, numpy scalars) beside the weights, which ``weights_only=True`` refuses.
    Everything that torch does not itself declare safe is therefore read as an inert placeholder: nothing that the file names is
    imported or called.

    Args:
        path: A file written by ``torch.save``: a state dict, or a dict that has one under ``'state_dict'``. Or the address of a shipped
            tokenizer.

    Raises:
        FileNotFoundError: There is no file at ``path``.
        ValueError: The file is not such a checkpoint.
    """
    file = resolve(path)
    if not file.is_file():
        raise FileNotFoundError(f'path must be a checkpoint file, but {path} does not exist')
    try:
        with safe_globals([(_Placeholder, name) for name in get_unsafe_globals_in_checkpoint(file)]):
            checkpoint = torch.load(file, map_location='cpu', weights_only=True)
    # torch and zipfile raise many types for damaged files: RuntimeError, UnpicklingError, EOFError, KeyError, OSError, ...
    except Exception as error:
        raise ValueError(f'path must be a checkpoint written by torch.save, but {path} cannot be read: {error}') from error
    state = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping):
        raise ValueError(f'path must hold a dict of tensors, but {path} holds a {type(checkpoint).__name__}')
    return {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}


class _Placeholder:
    """Stands for any object of a checkpoint that is not a tensor or a plain container; keeps nothing of it."""

    def __new__(cls, *args: object) -> '_Placeholder':
        return super().__new__(cls)

    def __init__(self, *args: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass


def _find_prefix(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path) -> str:
    """What stands before the tokenizer's keys in the file: the prefix under which most of them are there."""
    prefixes = Counter(key.removesuffix(name) for key in found for name in expected if key == name or key.endswith(f'.{name}'))
    if any(key.endswith(PUBLISHED_KEY) for key in found) and max(prefixes.values(), default=0) < len(expected):
        raise ValueError(f'path must be a checkpoint of this project, but {path} has the published layout: '
                         f'convert it with `python {CONVERTER} {path} CONVERTED.pth`')
    if not prefixes:
        raise ValueError(f'path must hold weights of a tokenizer ({next(iter(expected))}, ...), but {path} has none of them')
    most = max(prefixes.values())
    best = sorted(prefix for prefix, count in prefixes.items() if count == most)
    if len(best) > 1:
        raise ValueError(f'path must hold one tokenizer, but {path} has its keys under the prefixes {best}')
    return best[0]


def _check_weights(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path) -> None:
    missing = sorted(expected.keys() - weights.keys())
    unexpected = sorted(weights.keys() - expected.keys())
    if missing or unexpected:
        raise ValueError(f'path must hold the weights of this tokenizer, but {path} lacks {missing} and adds {unexpected}')
    for key, value in expected.items():
        if weights[key].shape != value.shape:
            raise ValueError(f'path must hold weights of this tokenizer\'s sizes, but in {path} {key} is '
                             f'{tuple(weights[key].shape)} and not {tuple(value.shape)}')
