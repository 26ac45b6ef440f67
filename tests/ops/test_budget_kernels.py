"""Kernels of the token budgets: the answers of the definition, label for label, whatever the image, the batch and the threads."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from budget_cases import KERNELS, draw_partition, each_backend, image_of
from partitions import canonical, random_case
from region_cases import bits, needs_library
from torch import Tensor

from dht_mm.ops import hard_merge, soft_merge, unite_regions, united_mean, use_backend
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer

GOLDEN = ('cityhydrant_224x224_aicc_cmp0.01', 'cowbike_224x224_aicc_cmp0.01', 'toys_128x128_cic_cmp0.01')
TARGETS = (1, 2, 17, 300, 10**6)


def merge(image: Tensor, partition: Partition, target: int, seed: int | None = None, kernel: str = 'gaussian') -> list[Tensor]:
    """All that the ops of both budgets say about a batch."""
    packing = partition.labels, partition.offsets, partition.size
    hard = hard_merge(image, *packing, target)
    soft = soft_merge(*packing, partition.bbox, partition.color, target, seed=None if seed is None else torch.tensor(seed), kernel=kernel)
    found = [*hard, *soft]
    for parent, offsets in (hard, soft):
        united = unite_regions(*packing, partition.bbox, parent, offsets)
        found += [*united, united_mean(partition.color, partition.offsets, partition.size, parent, united[1], image[0, 0].numel())]
    return found


def check_kernels(device: str, image: Tensor, partition: Partition, **options) -> None:
    for target in TARGETS:
        with use_backend('torch'):
            expected = merge(image, partition, target, **options)
        with use_backend('ext'):
            actual = merge(image.to(device), partition.to(device), target, **options)
        assert [(a.dtype, a.shape) for a in actual] == [(e.dtype, e.shape) for e in expected]
        assert bits(actual) == bits(expected), target


@needs_library
@pytest.mark.parametrize('seed', range(12))
def test_random_partitions_of_random_sizes(device: str, seed: int):
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(1, 70, 2))
    image, partition = random_case(batch=int(random.integers(1, 4)), height=height, width=width, seeds=int(random.integers(1, 400)),
                                   channels=int(random.choice([1, 2, 3, 5])), seed=seed)
    check_kernels(device, image, partition, seed=None if seed % 2 else int(random.integers(2**62)), kernel=KERNELS[seed % 3])


def constant(height: int, width: int) -> tuple[Tensor, Tensor]:
    """One colour, in blocks of 2 by 2 pixels: every cost ties."""
    y, x = np.indices((height, width)) // 2
    return torch.full((height, width), 0.7), torch.from_numpy(y * (width // 2 + 1) + x)


def checkerboard(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Every pixel is a region, and all neighbours differ alike."""
    y, x = np.indices((height, width))
    return torch.from_numpy((y + x) % 2).float(), torch.arange(height * width).view(height, width)


def lines(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Lines of one pixel's width, every third of them across the others."""
    y, x = np.indices((height, width))
    values = np.where(y % 3 == 0, height + x * 0 + y, x + (y // 3) * (height + width) * 7)
    return torch.from_numpy(values % 5).float(), torch.from_numpy(values)


def nested(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Frames within frames: each region has two neighbours, and boxes contain one another."""
    y, x = np.indices((height, width))
    depth = np.minimum(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x))
    return torch.from_numpy(depth % 2).float(), torch.from_numpy(depth)


def star(height: int, width: int) -> tuple[Tensor, Tensor]:
    """One region touches hundreds of single pixels."""
    y, x = np.indices((height, width))
    dots = (y % 2 == 1) & (x % 2 == 1)
    return torch.from_numpy(dots * (y * 0.01 + 1)).float(), torch.from_numpy(np.where(dots, 1 + y * width + x, 0))


@needs_library
@pytest.mark.parametrize('pattern', [constant, checkerboard, lines, nested, star], ids=lambda pattern: pattern.__name__)
def test_adversarial_partitions(device: str, pattern: Callable):
    values, labels = pattern(32, 27)
    flat = pattern(32, 27)[0] * 0
    images = torch.stack([values, flat, 1e30 * values, 1e-39 * values])[:, None].repeat(1, 3, 1, 1)
    check_kernels(device, images, Partition.from_labels(canonical(labels).repeat(4, 1, 1), images), seed=3)


@needs_library
@pytest.mark.parametrize('size', [(1, 1), (1, 2), (2, 1), (1, 40), (40, 1)])
def test_tiny_images(device: str, size: tuple[int, int]):
    check_kernels(device, *random_case(batch=2, height=size[0], width=size[1], seeds=50))


@needs_library
def test_regions_of_which_one_holds_most_of_a_large_image(device: str):
    """More regions than a block has threads, and counts of pixels that need their 32 bits."""
    labels = torch.zeros(1, 700, 700, dtype=torch.int64)
    labels[0, :40, :40] = 1 + torch.arange(1600).view(40, 40)
    image = torch.randn(1, 3, 700, 700, generator=torch.Generator().manual_seed(0))
    check_kernels(device, image, Partition.from_labels(canonical(labels[0])[None], image), seed=1)


@needs_library
@pytest.mark.parametrize('name', GOLDEN)
def test_golden_images(device: str, shared: Path, name: str):
    with np.load(shared / f'golden/tokenizer_{name}.npz') as arrays:
        pixels, labels = torch.from_numpy(arrays['image']), torch.from_numpy(arrays['seg'])
    image = (pixels.movedim(2, 0)[None] / 255 - 0.45) / 0.225
    check_kernels(device, image, Partition.from_labels(labels[None], image), seed=11)


@each_backend
def test_an_image_does_not_see_its_batch(device: str, backend: str):
    partition = draw_partition(3).to(device)
    image = torch.randn(3, 3, 11, 9, device=device)
    with use_backend(backend):
        whole = [merge(image, partition, 6, seed=seed)[::2] for seed in (None, 5)]
        for index in range(3):
            alone = image_of(partition, index)
            start, stop = partition.offsets[index:index + 2].tolist()
            for seed, expected in zip((None, 5), whole, strict=True):
                found = merge(image[index:index + 1], alone, 6, seed=seed)[::2]
                for parent, rows in zip(found[:2], expected[:2], strict=True):
                    assert torch.equal(parent, rows[start:stop] - rows[start:stop].min())


@needs_library
def test_repetition_and_threads_change_no_bit(device: str, other_threads: Callable):
    image, partition = random_case(batch=3, height=60, width=50, seeds=300)
    image, partition, seen = image.to(device), partition.to(device), set()
    for number in range(20):
        with use_backend('ext'), other_threads() if number % 2 else nullcontext():
            seen.add(bits(merge(image, partition, 20, seed=1)))
    assert len(seen) == 1


@needs_library
def test_layout_and_integer_width_change_no_bit(device: str):
    image, partition = (case.to(device) for case in random_case(batch=2, height=20, width=30, seeds=60))
    wide = Partition(**{name: value.long() if isinstance(value, Tensor) and not value.is_floating_point() else value
                        for name, value in vars(partition).items()})
    with use_backend('ext'):
        assert bits(merge(image.to(memory_format=torch.channels_last), wide, 7)) == bits(merge(image, partition, 7))


@needs_library
@pytest.mark.parametrize('label', [-1, 9999])
def test_labels_without_a_row_are_named_on_the_cpu(label: int):
    image, partition = random_case()
    partition.labels[1, 3, 4] = label
    for call in (lambda p: hard_merge(image, p.labels, p.offsets, p.size, 3),
                 lambda p: soft_merge(p.labels, p.offsets, p.size, p.bbox, p.color, 3)):
        with use_backend('ext'), pytest.raises(ValueError, match='labels .* image 1'):
            call(partition)


def arguments(device: str) -> dict[str, tuple]:
    image, partition = (case.to(device) for case in random_case())
    packing = partition.labels, partition.offsets, partition.size
    parent, offsets = hard_merge(image, *packing, 4)
    size = unite_regions(*packing, partition.bbox, parent, offsets)[1]
    return dict(
        hard_merge=(image, *packing, 4), soft_merge=(*packing, partition.bbox, partition.color, 4, None, 'gaussian'),
        unite_regions=(*packing, partition.bbox, parent, offsets, None), unite_to_rows=(*packing, partition.bbox, parent, offsets, 20),
        united_mean=(partition.mean.clone().requires_grad_(), *packing[1:], parent, size, image[0, 0].numel()))


@each_backend
@pytest.mark.parametrize('name', ['hard_merge', 'soft_merge', 'unite_regions', 'unite_to_rows', 'united_mean'])
def test_opcheck(device: str, backend: str, name: str):
    with use_backend(backend):
        torch.library.opcheck(getattr(torch.ops.dht_mm, name.replace('to_rows', 'regions')).default, arguments(device)[name])


@needs_library
def test_merging_does_not_wait_for_the_device(device: str):
    if device == 'cpu':
        pytest.skip('only a GPU can be waited for')
    image, partition = (case.to(device) for case in random_case())
    seed = torch.tensor(5)
    torch.cuda.set_sync_debug_mode('error')
    try:
        with use_backend('ext'):
            hard_merge(image, partition.labels, partition.offsets, partition.size, 3)
            soft_merge(partition.labels, partition.offsets, partition.size, partition.bbox, partition.color, 3, seed=seed)
    finally:
        torch.cuda.set_sync_debug_mode('default')


@each_backend
@pytest.mark.parametrize('budget', [dict(mode='soft'), dict(mode='hard'), dict(mode='exact'), dict(mode='hard', spread=0.1)])
@pytest.mark.parametrize('training', [False, True])
def test_tokenizer_with_a_budget_compiles_to_one_graph(device: str, backend: str, budget: dict, training: bool):
    torch.manual_seed(0)
    model = DHTTokenizer(token_budget=dict(budget, train=12, test=15), norm_eval=True).to(device).train(training)
    images = torch.rand(2, 3, 24, 20, device=device)
    torch._dynamo.reset()  # graphs of other tests in this process count towards the limit
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    with use_backend(backend):
        torch.manual_seed(1)
        expected = model(images)
        torch.manual_seed(1)
        found = compiled(images)
        found.color.sum().backward()
    for name, value in vars(expected).items():
        torch.testing.assert_close(getattr(found, name), value)
    assert model.projection.pixel['conv'].weight.grad.isfinite().all()
