"""The cut of small graphs, known by hand or by another solver."""

import pytest
import torch

from dht_mm.saliency import cosine_graph, second_eigenvector


def random_weights(rows: int) -> torch.Tensor:
    half = torch.rand(rows, rows, dtype=torch.float64, generator=torch.Generator().manual_seed(rows)) + 0.01
    return half + half.T


def test_graph_has_two_weights():
    features = torch.tensor([[1.0, 0], [3, 1], [0, 2], [-1, 0]])
    assert cosine_graph(features, 0.5, 0.25).tolist() == [[1, 1, .25, .25], [1, 1, .25, .25], [.25, .25, 1, .25], [.25, .25, .25, 1]]


@pytest.mark.parametrize('rows', [2, 3, 20])
def test_eigenvector_solves_the_generalised_problem(rows: int):
    scipy = pytest.importorskip('scipy.linalg')
    weights = random_weights(rows)
    degrees = weights.sum(1).diag()
    values, vectors = scipy.eigh((degrees - weights).numpy(), degrees.numpy())
    found, expected = second_eigenvector(weights), torch.from_numpy(vectors[:, 1])
    assert torch.allclose(found * found[0].sign(), expected * expected[0].sign(), atol=1e-9)
    assert torch.allclose((degrees - weights) @ found, values[1] * degrees @ found, atol=1e-9)


def test_two_groups_are_told_apart():
    weights = torch.full((5, 5), 0.01, dtype=torch.float64)
    weights[:2, :2] = weights[2:, 2:] = 1
    vector = second_eigenvector(weights)
    assert len(set((vector > 0)[:2].tolist())) == len(set((vector > 0)[2:].tolist())) == 1 and vector[0] * vector[4] < 0


@pytest.mark.parametrize('features, message', [(torch.zeros(3), r'\[N, D\]'), (torch.zeros(0, 3), r'\[N, D\]'),
                                               (torch.tensor([[1.0, torch.nan]]), 'finite')])
def test_refuses_features_without_meaning(features: torch.Tensor, message: str):
    with pytest.raises(ValueError, match=f'features must be .*{message}'):
        cosine_graph(features)


@pytest.mark.parametrize('options', [dict(threshold=1.5), dict(floor=0.0), dict(floor=1.0)])
def test_refuses_options_out_of_range(options: dict):
    with pytest.raises(ValueError, match='threshold must be'):
        cosine_graph(torch.ones(2, 2), **options)


@pytest.mark.parametrize('shape', [(1, 1), (2, 3), (4,)])
def test_refuses_weights_of_no_graph(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match='weights must be'):
        second_eigenvector(torch.ones(shape, dtype=torch.float64))
