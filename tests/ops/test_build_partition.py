"""The partition of fixed capacity is that of the hierarchy, padded with zeros, and can be captured in a CUDA graph."""

import pytest
import torch
from torch import Tensor

from dht_mm.ops import backend_info, build_hierarchy, build_partition, use_backend

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
def test_is_the_hierarchys_partition_with_rows_of_zeros(device: str, backend: str, case: tuple[int, ...]):
    arguments = draw(*case, device)
    with use_backend(backend):
        expected = build_hierarchy(*arguments)
        count = len(expected.size)
        labels, num_regions, offsets, *packed = build_partition(*arguments, count + 5)
    assert torch.equal(labels, expected.labels) and torch.equal(num_regions, expected.num_regions)
    assert torch.equal(offsets, expected.offsets)
    for field, reference in zip(packed, (expected.bbox, expected.size, expected.mean), strict=True):
        assert len(field) == count + 5
        assert torch.equal(field[:count], reference) and not field[count:].any()


@pytest.mark.parametrize('backend', ['torch', 'auto'])
def test_counts_say_when_the_regions_do_not_fit(device: str, backend: str):
    arguments = draw(*CASES[0], device)
    with use_backend(backend):
        count = len(build_hierarchy(*arguments).size)
        exact, (labels, num_regions, *others) = (build_partition(*arguments, capacity) for capacity in (count, count - 1))
    assert int(exact[1].sum()) == count
    assert (num_regions == -1).all()
    assert not any(field.any() for field in (labels, *others))


def test_features_that_are_not_finite_are_told(device: str):
    features, slope, bias = draw(*CASES[0], device)
    features[1, 2, 3, 4] = torch.nan
    if device == 'cpu' or backend_info()['cuda'] != 'ext':
        with pytest.raises(ValueError, match='features must be finite'):
            build_partition(features, slope, bias, 100)
    else:
        assert (build_partition(features, slope, bias, 100)[1] == -1).all()


@pytest.mark.parametrize('capacity', [0, -3, 2**31, 2.0, True])
def test_capacity_is_checked(capacity):
    with pytest.raises(ValueError, match='capacity must be a positive integer'):
        build_partition(*draw(*CASES[0], 'cpu'), capacity)


@pytest.mark.parametrize('backend', ['torch', 'auto'])
def test_opcheck(device: str, backend: str):
    features, slope, bias = draw(*CASES[1], device)
    with use_backend(backend):
        torch.library.opcheck(torch.ops.dht_mm.build_partition.default, (features, slope, bias, 'gaussian', 0.1, 'aicc', 5.0, 6, 300))


def test_replays_in_a_cuda_graph_with_other_images():
    if not torch.cuda.is_available():
        pytest.skip('needs a GPU')
    features, slope, bias = draw(2, 8, 40, 52, 'cuda')
    others = [draw(batch, 8, 40, 52, 'cuda')[0][:2] for batch in (2, 3, 4)]
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        build_partition(features, slope, bias, 500)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        captured = build_partition(features, slope, bias, 500)
    for other in others:
        features.copy_(other)
        graph.replay()
        for found, expected in zip(captured, build_partition(other, slope, bias, 500), strict=True):
            assert torch.equal(found, expected)
