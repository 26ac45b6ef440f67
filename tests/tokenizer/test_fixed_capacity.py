"""A tokenizer of a fixed capacity gives what one without gives, and rows of no region, in training and evaluation."""

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from dht_mm.ops import backend_info, region_pixels, use_backend
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer, mean_shift

BUDGETS = (None, dict(mode='hard', train=9, test=11), dict(mode='exact', train=11, test=9),
           dict(mode='hard', train=9, test=11, spread=0.1), dict(mode='hard', train=10**6, test=1))
CAPACITY = 300


@pytest.fixture(params=['torch', pytest.param('ext', marks=pytest.mark.skipif(
    not backend_info()['loaded'], reason='needs the compiled operators'))])
def backend(request) -> str:
    return request.param


def draw(device: str, batch: int = 2, height: int = 17, width: int = 22, seed: int = 0) -> Tensor:
    """Blobs under noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, 3, height // 6 + 1, width // 6 + 1, generator=generator)
    blobs = coarse.repeat_interleave(6, 2).repeat_interleave(6, 3)[:, :, :height, :width]
    return (blobs + 0.1 * torch.randn(blobs.shape, generator=generator)).to(device)


def build(device: str, budget: dict | None, capacity: int | None, **options) -> DHTTokenizer:
    torch.manual_seed(0)
    tokenizer = DHTTokenizer(compactness=0.01, token_budget=budget, capacity=capacity, **options)
    torch.nn.init.normal_(tokenizer.self_edge.weight)
    torch.nn.init.constant_(tokenizer.self_edge.bias, -0.5)
    return tokenizer.to(device)


def check_rows(fixed: Partition, packed: Partition) -> None:
    """Bit for bit the packed rows, and zeros behind them."""
    count = packed.total_regions
    assert fixed.total_regions >= count
    for field in fields(Partition):
        found, expected = getattr(fixed, field.name), getattr(packed, field.name)
        if field.name in ('labels', 'num_regions', 'offsets'):
            assert torch.equal(found, expected), field.name
        elif field.name != 'max_regions':
            assert torch.equal(found[:count], expected) and not found[count:].any(), field.name
    assert int(fixed.num_regions.max()) <= fixed.max_regions


def train(tokenizer: DHTTokenizer, images: Tensor) -> tuple[Partition, list[Tensor]]:
    """A step whose loss looks at every row, those of no region included, each with weights of its own."""
    partition = tokenizer.train()(images)
    rows = torch.cat([partition.color, mean_shift(images, partition)], 1)
    weight = torch.arange(rows.numel(), device=rows.device) % 17 - 8
    (rows * weight.view_as(rows)).sum().backward()
    return partition, [parameter.grad for parameter in tokenizer.parameters()]


@pytest.mark.parametrize('norm_eval', [True, False])
@pytest.mark.parametrize('budget', BUDGETS)
def test_training_gives_the_same_bits(device: str, backend: str, budget: dict | None, norm_eval: bool):
    images = draw(device)
    built = [build(device, budget, capacity, norm_eval=norm_eval) for capacity in (CAPACITY, None)]
    with use_backend(backend):
        (fixed, grads), (packed, expected) = (train(tokenizer, images) for tokenizer in built)
    check_rows(fixed, packed)
    for grad, reference in zip(grads, expected, strict=True):
        if device == 'cuda' and backend == 'torch':  # index_add sums in any order there
            torch.testing.assert_close(grad, reference, rtol=1e-4, atol=1e-4 * float(reference.abs().max()) + 1e-12)
        else:
            assert torch.equal(grad, reference)
    assert all(torch.equal(*buffers) for buffers in zip(*(tokenizer.buffers() for tokenizer in built), strict=True))


@pytest.mark.parametrize('budget', BUDGETS)
def test_evaluation_gives_the_same_bits(device: str, backend: str, budget: dict | None):
    images = draw(device)
    with use_backend(backend), torch.inference_mode():
        check_rows(*(build(device, budget, capacity).eval()(images) for capacity in (CAPACITY, None)))


@pytest.mark.parametrize(('budget', 'rows', 'most'), [
    (None, 300, 300), (dict(mode='hard', train=9), 18, 9), (dict(mode='exact', train=9), 18, 9), (dict(mode='hard', train=250), 300, 250),
    (dict(mode='hard', train=10**6), 300, 300), (dict(mode='hard', train=9, spread=0.1), 18, 9),
    (dict(mode='hard', train=250, spread=0.1), 500, 250)])
def test_rows_are_known_on_the_host(budget: dict | None, rows: int, most: int):
    partition = build('cpu', budget, CAPACITY).train()(draw('cpu'))
    assert (partition.total_regions, partition.max_regions) == (rows, most)
    assert build('cpu', None, CAPACITY).eval()(draw('cpu', height=3, width=5)).max_regions == 15
    assert build('cpu', None, None).eval()(draw('cpu')).max_regions is None


def test_rows_of_no_region_belong_to_no_pixel(device: str, backend: str):
    images = draw(device)
    with use_backend(backend):
        fixed, packed = (build(device, None, capacity).eval()(images) for capacity in (CAPACITY, None))
    count = packed.total_regions
    assert torch.equal(fixed.image_index[:count], packed.image_index) and (fixed.image_index[count:] == 1).all()
    assert torch.equal(fixed.pool(images)[:count], packed.pool(images)) and not fixed.pool(images)[count:].any()
    assert torch.equal(fixed.scatter(fixed.color), packed.scatter(packed.color))


def test_samples_of_rows_of_no_region_are_zero_and_pass_no_gradient(device: str, backend: str):
    images = draw(device)

    def sample(capacity: int | None) -> tuple[Tensor, Tensor, list[Tensor]]:
        partition = build(device, None, capacity).eval()(images)
        leaves = [images.clone().requires_grad_(), torch.ones_like(partition.color, requires_grad=True)]
        samples, mask = region_pixels(leaves[0], partition.labels, partition.offsets, partition.bbox, 5, leaves[1])
        grad = torch.where((partition.size > 0)[:, None, None, None], torch.ones_like(samples), torch.nan)
        return samples, mask, torch.autograd.grad(samples, leaves, grad)

    with use_backend(backend):
        (samples, mask, grads), (*packed, expected) = sample(CAPACITY), sample(None)
    count = len(packed[0])
    for found, reference in zip((samples, mask, grads[1]), (*packed, expected[1]), strict=True):
        assert torch.equal(found[:count], reference) and not found[count:].any()
    assert torch.equal(grads[0], expected[0])


@pytest.mark.parametrize('poison', [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize('budget', BUDGETS[:4])
def test_no_gradient_comes_from_rows_of_no_region(device: str, backend: str, budget: dict | None, poison: float):
    images = draw(device)

    def grads(value: float) -> list[Tensor]:
        tokenizer = build(device, budget, CAPACITY).train()
        partition = tokenizer(images)
        rows = torch.cat([partition.color, partition.mean], 1)
        grad = torch.where((partition.size > 0)[:, None], torch.ones_like(rows), value)
        rows.backward(grad)
        return [parameter.grad for parameter in tokenizer.parameters()]

    with use_backend(backend):
        found, expected = grads(poison), grads(0.0)
    assert all(torch.equal(grad, reference) for grad, reference in zip(found, expected, strict=True))


@pytest.mark.parametrize('budget', BUDGETS[:4])
def test_regions_that_do_not_fit_are_told(device: str, backend: str, budget: dict | None):
    tokenizer, images = build(device, budget, 5), draw(device)
    with use_backend(backend):
        partition = tokenizer.train()(images)
        assert (partition.num_regions == -1).all() and not partition.offsets.any() and not partition.size.any()
        assert partition.mean.isnan().all() and partition.color.isnan().all()
        partition.color.sum().backward()
        assert all(not parameter.grad.any() or parameter.grad.isnan().any() for parameter in tokenizer.parameters())
        with torch.no_grad():
            partition = tokenizer.eval()(images)
    assert (partition.num_regions == -1).all() and not partition.mean.any() and not partition.color.any()


def test_regions_to_merge_from_that_do_not_fit_are_told(device: str, backend: str):
    images = draw(device)
    selected = build(device, None, None).eval()(images).total_regions
    tokenizer = build(device, BUDGETS[2], selected)
    with use_backend(backend):
        partition = tokenizer.train()(images)
        assert (partition.num_regions == -1).all() and not partition.labels.any() and not partition.size.any()
        assert partition.mean.isnan().all() and partition.color.isnan().all()
        with torch.no_grad():
            assert (build(device, BUDGETS[2], 2 * images[:, 0].numel()).eval()(images).num_regions == 9).all()


def test_a_soft_budget_has_no_fixed_capacity():
    with pytest.raises(ValueError, match="capacity must be None with a token_budget of mode='soft'.* got 300"):
        build('cpu', dict(mode='soft'), CAPACITY)


def capture(step: Callable[[], list[Tensor]]) -> tuple[torch.cuda.CUDAGraph, list[Tensor]]:
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        results = step()
    return graph, results


@pytest.mark.skipif(not torch.cuda.is_available() or backend_info()['cuda'] != 'ext', reason='needs a GPU and the compiled CUDA kernels')
@pytest.mark.parametrize('norm_eval', [True, False])
@pytest.mark.parametrize('budget', BUDGETS[:4])
def test_a_training_step_replays_in_a_cuda_graph(budget: dict | None, norm_eval: bool):
    tokenizer, images = build('cuda', budget, CAPACITY, norm_eval=norm_eval), draw('cuda')

    def step() -> list[Tensor]:
        for parameter in tokenizer.parameters():
            parameter.grad = None
        partition, grads = train(tokenizer, images)
        return [partition.labels, partition.offsets, partition.color, *grads]

    graph, captured = capture(step)
    for seed in (1, 2, 3):
        images.copy_(draw('cuda', seed=seed))
        graph.replay()
        found = [result.clone() for result in captured]
        assert all(torch.equal(result, expected) for result, expected in zip(found, step(), strict=True))
