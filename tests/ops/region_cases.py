"""Random inputs of the ops on regions, and calls of every op with them."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from partitions import random_case
from torch import Tensor

from dht_mm.ops import backend_info, gradient_histogram, pool_cells, position_histogram, region_mean, region_pixels
from dht_mm.structures import Partition

INFO = backend_info()
needs_library = pytest.mark.skipif(not INFO['loaded'], reason=f'needs the compiled operators: {INFO["library"]}')


@dataclass(frozen=True)
class Case:
    """What the ops work on; gradients reach all but the partition."""

    image: Tensor
    shift: Tensor
    tokens: Tensor
    partition: Partition

    @classmethod
    def draw(cls, **sizes) -> 'Case':
        image, partition = random_case(**sizes)
        generator = torch.Generator().manual_seed(1)
        shift, tokens = (torch.randn(partition.total_regions, dims, generator=generator) for dims in (image.shape[1], 11))
        return cls(image, shift, tokens, partition)

    def to(self, *target: str | torch.dtype) -> 'Case':
        """Floats on another device or of another dtype."""
        moved = (leaf.to(*target) for leaf in (self.image, self.shift, self.tokens))
        return Case(*moved, self.partition.to('cpu' if isinstance(target[0], torch.dtype) else target[0]))

    @property
    def packing(self) -> tuple[Tensor, Tensor]:
        return self.partition.labels, self.partition.offsets


Run = Callable[[Case], tuple[Tensor, ...]]


def mean(case: Case) -> tuple[Tensor, ...]:
    return (region_mean(case.image, *case.packing, case.partition.size),)


def pixels(case: Case) -> tuple[Tensor, ...]:
    return region_pixels(case.image, *case.packing, case.partition.bbox, 16)


def shifted_pixels(case: Case) -> tuple[Tensor, ...]:
    return region_pixels(case.image, *case.packing, case.partition.bbox, 5, case.shift)


def few_pixels(case: Case) -> tuple[Tensor, ...]:
    return (*region_pixels(case.image, *case.packing, case.partition.bbox, 1, case.shift),
            *region_pixels(case.image, *case.packing, case.partition.bbox, 2, case.shift))


def positions(case: Case) -> tuple[Tensor, ...]:
    return (position_histogram(*case.packing, case.partition.total_regions, (3, 14)),)


def derivatives(case: Case) -> tuple[Tensor, ...]:
    return (gradient_histogram(case.image[:, [0, -1]], *case.packing, case.partition.total_regions, 6),)


def cells(case: Case) -> tuple[Tensor, ...]:
    return pool_cells(case.tokens, *case.packing, 4), pool_cells(case.tokens, *case.packing, 32)


each_run = pytest.mark.parametrize('run', (mean, pixels, shifted_pixels, few_pixels, positions, derivatives, cells))


def results(run: Run, case: Case, scale: float = 1.0) -> list[Tensor]:
    """What an op gives and, last, the gradients of a random sum of it to the leaves that it depends on."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in (case.image, case.shift, case.tokens)]
    outputs = run(Case(*leaves, case.partition))
    generator = torch.Generator().manual_seed(2)
    total = sum(leaf.sum() * 0 for leaf in leaves)
    for output in outputs:
        if output.requires_grad:
            total = total + (output * (scale * torch.randn(output.shape, generator=generator)).to(output)).sum()
    return [*outputs, *torch.autograd.grad(total, leaves)]


def check_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Equal integers; floats that differ by a share of the largest."""
    if not expected.is_floating_point():
        assert torch.equal(actual.cpu(), expected)
    else:
        largest = expected.abs().amax().item() if expected.numel() else 0
        torch.testing.assert_close(actual.cpu().double(), expected.double(), rtol=0, atol=tolerance * largest)


def bits(tensors: list[Tensor]) -> tuple[bytes, ...]:
    return tuple(tensor.detach().cpu().contiguous().numpy().tobytes() for tensor in tensors)
