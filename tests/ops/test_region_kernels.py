"""Compiled kernels on regions equal the pure-torch definition and give the same bits in every run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from region_cases import INFO, Case, Run, bits, cells, check_close, each_run, needs_library, pixels, results, shifted_pixels
from torch import Tensor

from dht_mm.ops import region_mean, region_pixels, use_backend
from dht_mm.structures import Partition

SIZES = (dict(batch=2, height=13, width=17, seeds=9), dict(batch=3, height=40, width=70, seeds=60, channels=1),
         dict(batch=1, height=37, width=29, seeds=1), dict(batch=2, height=6, width=7, seeds=900, channels=5),
         dict(batch=2, height=1, width=90, seeds=5), dict(batch=2, height=90, width=1, seeds=5),
         dict(batch=5, height=2, width=2, seeds=3), dict(batch=1, height=1, width=1, seeds=1))

each_size = pytest.mark.parametrize('sizes', SIZES, ids=lambda sizes: '{batch}x{height}x{width}-{seeds}'.format(**sizes))


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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

    partition = replace(case.partition, **{
        name: strided(value) for name, value in vars(case.partition).items() if isinstance(value, Tensor)})
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
    rows = {name: value[:0] for name, value in vars(case.partition).items() if isinstance(value, Tensor)}
    nothing = Partition(**rows | dict(offsets=case.partition.offsets[:1]))
    with use_backend(backend):
        found = results(run, Case(case.image[:0], case.shift[:0], case.tokens[:0], nothing))
    assert all(tensor.numel() == 0 for tensor in found)


def test_shift_equals_shifting_the_image(device: str):
    case = Case.draw().to(device)
    painted = case.image + case.partition.scatter(case.shift)
    found, mask = shifted_pixels(case)
    expected, plain_mask = shifted_pixels(replace(case, image=painted, shift=torch.zeros_like(case.shift)))
    torch.testing.assert_close(found, expected)
    assert torch.equal(mask, plain_mask)


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
        with use_backend('ext'), pytest.raises(ValueError, match='labels .* image 1'):
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
