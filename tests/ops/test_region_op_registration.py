"""Ops on regions are known to torch: gradients, schemas, shapes without data, and one graph under torch.compile."""

import pytest
import torch
from region_cases import Case, Run, cells, check_close, few_pixels, mean, needs_library, results, shifted_pixels
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from dht_mm.ops import gradient_histogram, pool_cells, position_histogram, region_mean, region_pixels, use_backend


@pytest.mark.parametrize('run', [mean, shifted_pixels, few_pixels, cells])
def test_gradcheck(run: Run):
    case = Case.draw(batch=2, height=5, width=6, seeds=4, channels=2).to(torch.float64)
    leaves = [leaf.requires_grad_() for leaf in (case.image, case.shift, case.tokens)]

    def differentiable(*leaves: Tensor) -> tuple[Tensor, ...]:
        return tuple(output for output in run(Case(*leaves, case.partition)) if output.requires_grad)

    with use_backend('torch'):
        assert torch.autograd.gradcheck(differentiable, leaves)


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
