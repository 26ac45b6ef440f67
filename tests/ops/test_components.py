"""Connected components and their numbering against scipy's."""

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from dht_mm.ops.reference.components import components_of_picks, jump_to_roots, merge_edges, number_roots


def smallest_of_component(num: int, first: np.ndarray, second: np.ndarray) -> list[int]:
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(num, num))
    component = connected_components(graph, directed=False)[1]
    return [int(np.flatnonzero(component == c)[0]) for c in component]


def draw_picks(seed: int, num: int) -> Tensor:
    """Picks of the largest (weight, label) over random symmetric weights with many ties; some nodes have no neighbour."""
    random = np.random.default_rng(seed)
    weight = np.triu(random.integers(0, 4, (num, num)), 1)
    weight = np.where(random.random((num, num)) < 3 / num, weight + 1, 0)
    weight = np.triu(weight, 1) + np.triu(weight, 1).T + np.diag(random.integers(0, 4, num))
    return torch.tensor([max((weight[u, v], v) for v in range(num) if weight[u, v] > 0 or u == v)[1] for u in range(num)])


@pytest.mark.parametrize('num', [1, 2, 7, 60])
@pytest.mark.parametrize('seed', range(5))
def test_components_of_picks(seed: int, num: int):
    pick = draw_picks(seed, num)
    assert components_of_picks(pick).tolist() == smallest_of_component(num, np.arange(num), pick.numpy())


@pytest.mark.parametrize('seed', range(8))
def test_merge_edges_of_any_graph(seed: int):
    random = np.random.default_rng(seed)
    num = int(random.integers(1, 80))
    first, second = random.integers(0, num, (2, int(random.integers(0, 2 * num))))
    found = merge_edges(torch.arange(num), torch.from_numpy(first), torch.from_numpy(second))
    assert found.tolist() == smallest_of_component(num, first, second)


def test_merge_edges_goes_on_from_a_forest():
    start = torch.tensor([0, 0, 2, 2, 4])
    assert merge_edges(start, torch.tensor([3]), torch.tensor([1])).tolist() == [0, 0, 0, 0, 4]


def test_long_chains():
    num = 5000
    chain = torch.arange(num) - 1
    assert not jump_to_roots(chain.clamp_min(0)).any()
    assert not merge_edges(torch.arange(num), torch.arange(num - 1), torch.arange(1, num)).any()


def test_numbers_follow_the_roots():
    number, roots = number_roots(torch.tensor([0, 1, 0, 3, 1, 3]))
    assert number.tolist() == [0, 1, 0, 2, 1, 2] and roots.tolist() == [0, 1, 3]
