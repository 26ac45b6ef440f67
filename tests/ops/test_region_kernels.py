"""Ops on regions: compiled kernels equal the pure-torch definition, give the same bits in every run, and compile to one graph."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from partitions import random_case
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from dht_mm.ops import backend_info, gradient_histogram, pool_cells, position_histogram, region_mean, region_pixels, use_backend
from dht_mm.structures import Partition

INFO = backend_info()
SIZES = (dict(batch=2, height=13, width=17, seeds=9), dict(batch=3, height=40, width=70, seeds=60, channels=1),
         dict(batch=1, height=37, width=29, seeds=1), dict(batch=2, height=6, width=7, seeds=900, channels=5),
         dict(batch=2, height=1, width=90, seeds=5), dict(batch=2, height=90, width=1, seeds=5),
         dict(batch=5, height=2, width=2, seeds=3), dict(batch=1, height=1, width=1, seeds=1))

needs_library = pytest.mark.skipif(not INFO['loaded'], reason=f'needs the compiled operators: {INFO["library"]}')
each_size = pytest.mark.parametrize('sizes', SIZES, ids=lambda sizes: '{batch}x{height}x{width}-{seeds}'.format(**sizes))


@pytest.fixture(params=['cpu', 'cuda'])
def device(request) -> str:
    """A device, with kernels if there are any at all."""
    if request.param == 'cuda' and not torch.cuda.is_available():
        pytest.skip('needs a GPU')
    if request.param == 'cuda' and INFO['loaded'] and INFO['cuda'] != 'ext':
        pytest.skip('the compiled library has no CUDA kernels')
    return request.param


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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


@needs_library
@each_run
@each_size
def test_kernels_equal_the_definition_in_float64(device: str, run: Run, sizes: dict):
    case = Case.draw(**sizes)
    with use_backend('torch'):
        expected = results(run, case.to(torch.float64))
    with use_backend('ext'):
        actual = results(run, case.to(device))
    for found, reference in zip(actual, expected, strict=True):
        check_close(found, reference, 1e-6)


@each_run
@each_size
def test_definition_in_float32(run: Run, sizes: dict):
    case = Case.draw(**sizes)
    with use_backend('torch'):
        for found, reference in zip(results(run, case), results(run, case.to(torch.float64)), strict=True):
            check_close(found, reference, 1e-5)


@needs_library
@each_run
@each_size
def test_devices_give_the_same_bits(run: Run, sizes: dict):
    if INFO['cuda'] != 'ext' or not torch.cuda.is_available():
        pytest.skip('needs a GPU and the compiled CUDA kernels')
    case = Case.draw(**sizes)
    with use_backend('ext'):
        expected, actual = results(run, case), results(run, case.to('cuda'))
    assert bits(actual) == bits(expected)


@needs_library
@each_run
def test_repetition_and_threads_change_no_bit(device: str, run: Run):
    case = Case.draw(batch=4, height=50, width=61, seeds=70).to(device)
    seen = set()
    for number in range(20):
        with use_backend('ext'), threads(1 + number % 3):
            seen.add(bits(results(run, case)))
    assert len(seen) == 1


@needs_library
@each_run
def test_batch_changes_no_bit_of_an_image(device: str, run: Run):
    case = Case.draw(batch=3, height=21, width=34, seeds=20).to(device)
    with use_backend('ext'):
        whole = run(case)
        for index in range(3):
            rows = slice(*case.partition.offsets[index:index + 2].tolist())
            alone = Partition.from_labels(case.partition.labels[index:index + 1], case.image[index:index + 1])
            single = run(Case(case.image[index:index + 1], case.shift[rows], case.tokens[rows], alone))
            own = slice(index, index + 1) if run is cells else rows
            assert bits(single) == bits([output[own] for output in whole])


@needs_library
@each_run
def test_layout_changes_no_bit(device: str, run: Run):
    case = Case.draw(batch=2, height=9, width=12).to(device)

    def strided(tensor: Tensor) -> Tensor:
        return torch.stack([tensor, tensor], -1)[..., 0]

    partition = replace(case.partition, **{name: strided(value) for name, value in vars(case.partition).items()})
    wide = replace(partition, labels=partition.labels.long(), offsets=partition.offsets.long(), bbox=partition.bbox.long())
    image = case.image.to(memory_format=torch.channels_last)
    with use_backend('ext'):
        expected = bits(results(run, case))
        for change in (Case(image, strided(case.shift), strided(case.tokens), partition), replace(case, partition=wide)):
            assert not change.image.is_contiguous() or change.partition.labels.dtype == torch.int64
            assert bits(run(change)) == expected[:len(run(change))]


@each_run
@pytest.mark.parametrize('backend', ['torch', pytest.param('ext', marks=needs_library)])
def test_no_images(device: str, run: Run, backend: str):
    case = Case.draw().to(device)
    rows = {name: value[:0] for name, value in vars(case.partition).items()}
    nothing = Partition(**rows | dict(offsets=case.partition.offsets[:1]))
    with use_backend(backend):
        found = results(run, Case(case.image[:0], case.shift[:0], case.tokens[:0], nothing))
    assert all(tensor.numel() == 0 for tensor in found)


@pytest.mark.parametrize('run', [mean, shifted_pixels, few_pixels, cells])
def test_gradcheck(run: Run):
    case = Case.draw(batch=2, height=5, width=6, seeds=4, channels=2).to(torch.float64)
    leaves = [leaf.requires_grad_() for leaf in (case.image, case.shift, case.tokens)]

    def differentiable(*leaves: Tensor) -> tuple[Tensor, ...]:
        return tuple(output for output in run(Case(*leaves, case.partition)) if output.requires_grad)

    with use_backend('torch'):
        assert torch.autograd.gradcheck(differentiable, leaves)


def test_shift_equals_shifting_the_image(device: str):
    case = Case.draw().to(device)
    painted = case.image + case.partition.scatter(case.shift)
    found, mask = shifted_pixels(case)
    expected, plain_mask = shifted_pixels(replace(case, image=painted, shift=torch.zeros_like(case.shift)))
    torch.testing.assert_close(found, expected)
    assert torch.equal(mask, plain_mask)


def op_arguments(case: Case) -> dict[str, tuple]:
    labels, offsets = case.packing
    bbox, total = case.partition.bbox, case.partition.total_regions
    image, shift, tokens = (leaf.clone().requires_grad_() for leaf in (case.image, case.shift, case.tokens))
    samples = torch.randn(total, 3, 4, 4, device=image.device)
    return dict(
        region_mean=(image, labels, offsets, case.partition.size), region_pixels=(image, labels, offsets, bbox, shift, 4),
        region_pixels_backward=(samples, labels, offsets, bbox, True), position_histogram=(labels, offsets, total, 2, 3),
        gradient_histogram=(case.image[:, :2], labels, offsets, total, 5), pool_cells=(tokens, labels, offsets, 4),
        pool_cells_backward=(torch.randn(2, 4, 5, 7, device=image.device), labels, offsets, total, 4))


@pytest.mark.parametrize('name', op_arguments(Case.draw()))
@pytest.mark.parametrize('backend', ['torch', pytest.param('ext', marks=needs_library)])
def test_opcheck(device: str, backend: str, name: str):
    with use_backend(backend):
        torch.library.opcheck(getattr(torch.ops.dht_mm, name).default, op_arguments(Case.draw().to(device))[name])


@pytest.mark.parametrize('per_region', [False, True])
def test_opcheck_of_the_gradient_to_the_image(device: str, per_region: bool):
    samples, *rest, _ = op_arguments(Case.draw().to(device))['region_pixels_backward']
    torch.library.opcheck(torch.ops.dht_mm.region_pixels_backward.default, (samples, *rest, per_region))


@pytest.mark.parametrize('backend', ['torch', pytest.param('ext', marks=needs_library)])
def test_compiles_to_one_graph_for_any_number_of_regions(device: str, backend: str):
    def everything(image: Tensor, shift: Tensor, tokens: Tensor, *packing: Tensor) -> tuple[Tensor, ...]:
        labels, offsets, bbox, size = packing
        shift = shift - region_mean(image, labels, offsets, size)
        samples, mask = region_pixels(image, labels, offsets, bbox, 4, shift)
        positions = position_histogram(labels, offsets, len(size), (2, 3))
        derivatives = gradient_histogram(image[:, :2], labels, offsets, len(size), 4)
        return samples * mask, pool_cells(tokens, labels, offsets, 4), positions, derivatives

    counter = CompileCounterWithBackend('aot_eager')
    compiled = torch.compile(everything, fullgraph=True, backend=counter, dynamic=True)
    for seeds in (9, 5):
        case = Case.draw(seeds=seeds).to(device)
        packing = (*case.packing, case.partition.bbox, case.partition.size)
        with use_backend(backend):
            expected, actual = (results(lambda c, f=f, p=packing: f(c.image, c.shift, c.tokens, *p), case)
                                for f in (everything, compiled))
        for found, reference in zip(actual, expected, strict=True):
            check_close(found, reference.cpu(), 1e-6)
    assert counter.frame_count == 1


@needs_library
@each_run
def test_gradients_of_any_magnitude(device: str, run: Run):
    case = Case.draw()
    for scale in (1e-25, 1e25):
        with use_backend('torch'):
            expected = results(run, case.to(torch.float64), scale)
        with use_backend('ext'):
            actual = results(run, case.to(device), scale)
        for found, reference in zip(actual, expected, strict=True):
            check_close(found, reference, 1e-6)


@needs_library
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('leaf', [0, 1, 2])
def test_gradients_that_are_not_finite_stay_so(device: str, leaf: int, value: float):
    """A loss scaler must see them. They fill their image and leave the others alone."""
    case = Case.draw().to(device)
    leaves = [tensor.clone().requires_grad_() for tensor in (case.image, case.shift, case.tokens)]
    case, first = Case(*leaves, case.partition), int(case.partition.num_regions[0])
    with use_backend('ext'):
        output = (cells if leaf == 2 else shifted_pixels)(case)[0]
        weight = torch.ones_like(output)
        weight[0] = value
        grad, = torch.autograd.grad(output, leaves[leaf], weight)
    bad, good = (grad[:1], grad[1:]) if leaf == 0 else (grad[:first], grad[first:])
    assert not bad.isfinite().any() and good.isfinite().all()


@needs_library
@each_run
def test_labels_without_a_row_are_named_on_the_cpu(run: Run):
    case = Case.draw()
    for label in (-1, int(case.partition.num_regions[1])):
        labels = case.partition.labels.clone()
        labels[1, 3, 4] = label
        with use_backend('ext'), pytest.raises(RuntimeError, match='labels .* image 1'):
            run(replace(case, partition=replace(case.partition, labels=labels)))


@needs_library
def test_boxes_beyond_the_image_are_cut(device: str):
    case = Case.draw().to(device)
    bbox = case.partition.bbox + torch.tensor([-50, -3, 40, 2000], dtype=torch.int32, device=device)
    low = torch.zeros(2, dtype=torch.int32, device=device).repeat(2)
    cut = bbox.clamp_min(low).minimum(torch.tensor([12, 16, 12, 16], dtype=torch.int32, device=device))
    with use_backend('ext'):
        found, expected = (pixels(replace(case, partition=replace(case.partition, bbox=box))) for box in (bbox, cut))
    assert bits(found) == bits(expected)


def test_bad_input_of_the_mean_is_named():
    case = Case.draw()
    size = case.partition.size
    with pytest.raises(ValueError, match=r'features must be .* got shape \(2, 3, 13, 16\)'):
        region_mean(case.image[..., 1:], *case.packing, size)
    with pytest.raises(TypeError, match='features must be floating point, got torch.int64'):
        region_mean(case.image.long(), *case.packing, size)
    with pytest.raises(ValueError, match='size must be'):
        region_mean(case.image, *case.packing, size[:, None])
    with pytest.raises(ValueError, match=r'shift must be .* got shape \(3,\)'):
        region_pixels(case.image, *case.packing, case.partition.bbox, 2, case.shift[0])
