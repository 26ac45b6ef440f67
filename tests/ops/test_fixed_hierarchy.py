"""The hierarchy of a fixed length is the hierarchy, with more rows behind it, and can be captured in a CUDA graph."""

import pytest
import torch
from torch import Tensor

from dht_mm.ops import backend_info, build_fixed_hierarchy, build_hierarchy, tree_mean, use_backend
from dht_mm.ops.fixed_hierarchy import node_capacity
from dht_mm.ops.reference.tree_mean import replay

CASES = [(2, 8, 24, 31), (3, 5, 9, 7), (1, 8, 1, 1), (2, 3, 1, 40)]


def draw(batch: int, channels: int, height: int, width: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Features with blobs in them, and a self edge that sometimes wins."""
    generator = torch.Generator().manual_seed(batch * height)
    coarse = torch.randn(batch, channels, height // 4 + 1, width // 4 + 1, generator=generator)
    features = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, :height, :width]
    features = features + 0.1 * torch.randn(features.shape, generator=generator)
    return features.to(device), torch.randn(channels, generator=generator).to(device), torch.tensor(-0.3, device=device)


@pytest.mark.parametrize('backend', ['torch', 'auto'])
@pytest.mark.parametrize('case', CASES)
def test_is_the_hierarchy_with_further_rows(device: str, backend: str, case: tuple[int, ...]):
    arguments = draw(*case, device)
    with use_backend(backend):
        expected = build_hierarchy(*arguments)
        count, nodes = len(expected.size), case[0] * case[2] * case[3] + node_capacity(case[0], case[2] * case[3])
        found = build_fixed_hierarchy(*arguments, count + 5)
    assert all(torch.equal(field, reference) for field, reference in zip(found.packed(), expected, strict=True))
    assert [len(field) for field in (found.size, found.node, found.mean)] == [count + 5] * 3
    assert [len(field) for field in (found.parent, found.pick)] == [nodes] * 2
    assert not any(field[count:].any() for field in (found.bbox, found.size, found.mean))


@pytest.mark.parametrize('backend', ['torch', 'auto'])
def test_counts_say_when_the_regions_do_not_fit(device: str, backend: str):
    arguments = draw(*CASES[0], device)
    with use_backend(backend):
        count = len(build_hierarchy(*arguments).size)
        exact, none = (build_fixed_hierarchy(*arguments, capacity) for capacity in (count, count - 1))
    assert int(exact.num_regions.sum()) == count
    assert (none.num_regions == -1).all()
    assert not any(field.any() for field in (none.labels, none.offsets, none.bbox, none.size, none.mean, none.level_starts))
    assert len(none.packed().parent) == 0


def test_features_that_are_not_finite_are_told(device: str):
    features, slope, bias = draw(*CASES[0], device)
    features[1, 2, 3, 4] = torch.nan
    if device == 'cpu' or backend_info()['cuda'] != 'ext':
        with pytest.raises(ValueError, match='features must be finite'):
            build_fixed_hierarchy(features, slope, bias, 100)
    else:
        assert (build_fixed_hierarchy(features, slope, bias, 100).num_regions == -1).all()


@pytest.mark.parametrize('capacity', [0, -3, 2**31, 2.0, True])
def test_capacity_is_checked(capacity):
    with pytest.raises(ValueError, match='capacity must be a positive integer'):
        build_fixed_hierarchy(*draw(*CASES[0], 'cpu'), capacity)


@pytest.mark.parametrize('backend', ['torch', 'auto'])
def test_opcheck(device: str, backend: str):
    features, slope, bias = draw(*CASES[1], device)
    tests = ['test_schema', 'test_autograd_registration', 'test_faketensor', 'test_aot_dispatch_dynamic']
    if device != 'cpu' and backend == 'auto':
        tests.pop()  # compares all rows of two runs, and the kernels leave nodes that do not exist as they are
    with use_backend(backend):
        torch.library.opcheck(torch.ops.dht_mm.build_fixed_hierarchy.default, (features, slope, bias, 'gaussian', 0.1, 'aicc', 5.0, 6, 300),
                              test_utils=tests)


@pytest.mark.parametrize('backend', ['torch', 'auto'])
def test_opcheck_of_its_means(device: str, backend: str):
    leaves = [leaf.requires_grad_() for leaf in draw(*CASES[1], device)]
    with use_backend(backend):
        found = build_fixed_hierarchy(*leaves, 300)
        torch.library.opcheck(torch.ops.dht_mm.tree_mean.default, (*leaves, *found, 'gaussian', 0.1))


def test_gradients_of_its_means_are_the_replays():
    leaves = [leaf.double().requires_grad_() for leaf in draw(1, 2, 4, 5, 'cpu')]
    found = build_fixed_hierarchy(*leaves, 30)
    grad = torch.randn(30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    count = len(found.packed().size)
    wanted = torch.autograd.grad((replay(*leaves, found.packed(), 'gaussian', 0.1) * grad[:count]).sum(), leaves)
    for value, reference in zip(torch.autograd.grad((tree_mean(*leaves, found) * grad).sum(), leaves), wanted, strict=True):
        torch.testing.assert_close(value, reference)


def test_replays_in_a_cuda_graph_with_other_images():
    if not torch.cuda.is_available():
        pytest.skip('needs a GPU')
    features, slope, bias = draw(2, 8, 40, 52, 'cuda')
    others = [draw(batch, 8, 40, 52, 'cuda')[0][:2] for batch in (2, 3, 4)]
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        build_fixed_hierarchy(features, slope, bias, 500)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        captured = build_fixed_hierarchy(features, slope, bias, 500)
    for other in others:
        features.copy_(other)
        graph.replay()
        for found, expected in zip(captured.packed(), build_hierarchy(other, slope, bias), strict=True):
            assert torch.equal(found, expected)
