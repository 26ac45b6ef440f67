"""The layout of the tokenizer published with the paper."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from .conversion import Conversion

LINEAR = ('weight', 'bias')
NORM = (*LINEAR, 'running_mean', 'running_var', 'num_batches_tracked')
MODULES = (
    ('conv.ds.0', 'projection.pixel.conv', LINEAR),
    ('conv.ds.1', 'projection.pixel.norm', NORM),
    ('conv.cv.0', 'projection.coarse.conv1', LINEAR),
    ('conv.cv.1', 'projection.coarse.norm1', NORM),
    ('conv.cv.3', 'projection.coarse.conv2', LINEAR),
    ('conv.cv.4', 'projection.coarse.norm2', NORM),
    ('linear', 'color', LINEAR),
    ('varproj', 'self_edge', LINEAR),
)
CURVE, KERNEL = 'gradact.lmbda', 'gradient.kernel'
SCHARR = ((-3.0, -10.0, -3.0), (0.0, 0.0, 0.0), (3.0, 10.0, 3.0))


def convert_tokenizer(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Convert the published tokenizer to the weights of a ``DHTTokenizer``.

    Args:
        state_dict: ``conv.ds.*``, ``conv.cv.*``, ``linear.*``, ``varproj.*``, possibly ``gradact.lmbda`` and ``gradient.kernel``.

    Raises:
        ValueError: A key is missing or unknown, or the kernel is not Scharr's.
    """
    conversion = Conversion(state_dict)
    move_tokenizer(conversion)
    conversion.leave(CURVE, 'a setting of the gradient features, which are part of the encoder')
    return conversion.finish()


def tokenizer_keys(published: str = '', ours: str = '') -> Iterator[tuple[str, str]]:
    """The published name of each weight of a tokenizer, and ours, under these prefixes."""
    for old, new, names in MODULES:
        yield from ((f'{published}{old}.{name}', f'{ours}{new}.{name}') for name in names)


def move_tokenizer(conversion: Conversion, source: str = '', target: str = '') -> None:
    """Convert all but the curve of a tokenizer; ``source`` and ``target`` are the prefixes of its keys."""
    for old, new in tokenizer_keys(source, target):
        conversion.move(old, new)
    kernel = f'{source}{KERNEL}'
    if kernel in conversion and not torch.equal(conversion.read(kernel).flatten().cpu(), torch.tensor(SCHARR).flatten()):
        raise ValueError(f'{kernel} must be the Scharr kernel {SCHARR}, got {conversion.read(kernel).flatten().tolist()}')
    conversion.leave(kernel, 'the Scharr kernel, a constant of the code')
