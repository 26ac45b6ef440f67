"""From a checkpoint through a conversion to a checkpoint: what the converters here share."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from dht_mm.converters import Conversion
from dht_mm.tokenizer.checkpoint import read_state_dict


def convert_file(src: Path, dst: Path, convert: Callable[[dict[str, Tensor]], Conversion]) -> int:
    """Convert a file and print what became of every key.

    DST is written as a whole, or, if the source cannot be read or is not what ``convert`` expects, not at all.

    Returns:
        The exit code: 0, or 1 if nothing was written.
    """
    try:
        conversion = convert(read_weights(src))
        print(conversion.report())
        save(conversion.state_dict, dst)
    except (OSError, ValueError) as error:
        print(f'{src}: nothing written: {error}', file=sys.stderr)
        return 1
    print(f'{dst}: {len(conversion.state_dict)} tensors from {len(conversion.mapped)} keys of {src} ({conversion.layout} layout), '
          f'{len(conversion.resampled)} resampled, {len(conversion.filled)} filled in, {len(conversion.missing)} missing, '
          f'{len(conversion.unused)} unused')
    if conversion.options:
        print(f'backbone=dict({", ".join(f"{name}={value!r}" for name, value in conversion.options.items())})')
    return 0


def read_weights(path: Path) -> dict[str, Tensor]:
    """The named tensors of a checkpoint; those of DeiT's code keep them under ``model``."""
    found = read_state_dict(path)
    if found:
        return found
    try:
        weights = torch.load(path, map_location='cpu', weights_only=True).get('model', {})
    except UnpicklingError as error:
        raise ValueError(f'path must hold tensors, but {path} cannot be read: {error}') from error
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f'path must hold a state dict, by itself or under state_dict or model, but {path} does not')
    return weights


def save(state_dict: dict[str, Tensor], path: Path) -> None:
    """Write a checkpoint as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.partial')
    try:
        torch.save(dict(state_dict=state_dict), partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
