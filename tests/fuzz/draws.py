"""Where random cases come from: a seed, for long runs, or hypothesis, which finds the smallest failing case."""

import random
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar('T')
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
VALUES = ('normal', 'levels', 'constant', 'ramp', 'checkerboard', 'denormal', 'large', 'huge')
LAYOUTS = ('contiguous', 'channels last', 'transposed', 'strided', 'expanded', 'offset')


class Draws(Protocol):
    """A source of random choices."""

    def integer(self, low: int, high: int) -> int:
        """One of ``low`` to ``high``, ends included."""


class SeededDraws:
    """The choices of one case of a long run; the same for the same seed and number.

    Args:
        seed: Seed of the run.
        number: Number of the case.
    """

    def __init__(self, seed: int, number: int):
        self._random = random.Random(f'{seed} {number}')

    def integer(self, low: int, high: int) -> int:
        """One of ``low`` to ``high``, ends included."""
        return self._random.randint(low, high)


class HypothesisDraws:
    """Choices that hypothesis makes, and makes simpler where a test fails.

    Args:
        data: What the strategy ``data()`` gives.
    """

    def __init__(self, data: Any):
        self._data = data

    def integer(self, low: int, high: int) -> int:
        """One of ``low`` to ``high``, ends included."""
        from hypothesis import strategies
        return self._data.draw(strategies.integers(low, high))


def choice(draws: Draws, values: Sequence[T]) -> T:
    """One of some values; the first is the simplest."""
    return values[draws.integer(0, len(values) - 1)]


def one_in(draws: Draws, number: int) -> bool:
    """True once in ``number`` times."""
    return draws.integer(1, number) == number


def subset(draws: Draws, options: dict[str, Sequence]) -> dict[str, Any]:
    """About half of the options, each with one of its values."""
    return {name: choice(draws, values) for name, values in options.items() if one_in(draws, 2)}


def generator(draws: Draws) -> np.random.Generator:
    """Random numbers that are too many to be drawn one by one."""
    return np.random.default_rng(draws.integer(0, 2**32 - 1))


def values_of(kind: str, shape: tuple[int, ...], numbers: np.random.Generator) -> np.ndarray:
    """``[B, C, H, W]`` float64 of one of the kinds in ``VALUES``."""
    if kind == 'normal':
        return numbers.standard_normal(shape)
    if kind == 'levels':
        return numbers.integers(-1, 2, shape) / 2.0
    if kind == 'constant':
        return np.full(shape, numbers.standard_normal())
    y, x = np.indices(shape[-2:])
    if kind == 'ramp':
        return np.broadcast_to((y + 2.0 * x) / 8, shape).copy()
    if kind == 'checkerboard':
        return np.broadcast_to((y + x) % 2.0, shape).copy()
    scale = {'denormal': 1e-41, 'large': 1e4, 'huge': 1e37}[kind]
    return scale * numbers.standard_normal(shape)


def draw_images(draws: Draws, channels: int = 3, most_pixels: int = 200) -> Tensor:
    """``[B, C, H, W]`` finite images of any dtype, size, values and strides."""
    height = draws.integer(1, 40)
    width = draws.integer(1, max(1, min(40, most_pixels // height)))
    batch = draws.integer(1, 24)
    values = values_of(choice(draws, VALUES), (batch, channels, height, width), generator(draws))
    dtype = choice(draws, DTYPES)
    largest = torch.finfo(dtype).max / 4
    return with_layout(choice(draws, LAYOUTS), torch.from_numpy(values.clip(-largest, largest)).to(dtype))


def with_layout(layout: str, images: Tensor) -> Tensor:
    """The same images, or of ``'expanded'`` ones the first again and again, with other strides."""
    if layout == 'channels last':
        return images.contiguous(memory_format=torch.channels_last)
    if layout == 'transposed':
        return images.permute(3, 0, 2, 1).contiguous().permute(1, 3, 2, 0)
    if layout == 'strided':
        return images.repeat_interleave(2, 3).repeat_interleave(2, 0)[::2, :, :, ::2]
    if layout == 'expanded':
        return images[:1].expand_as(images)
    if layout == 'offset':
        return torch.cat([images[:1], images])[1:]
    return images.contiguous()
