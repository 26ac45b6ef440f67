"""Statistics of regions from those of their children: values, order of addition, ranges."""

import pytest
import torch
from torch import Tensor

from dht_mm.ops.reference.statistics import feature_exponent, merge_boxes, merge_moments


def children(seed: int, num: int = 200, scale: float = 1.0) -> tuple[Tensor, ...]:
    """Means ``[4, n]``, variances, weights and parents of the children of 40 regions."""
    random = torch.Generator().manual_seed(seed)
    mean = scale * torch.randn(4, num, generator=random)
    variance = scale**2 * torch.rand(4, num, generator=random)
    root = torch.rand(num, generator=random, dtype=torch.float64).clamp_min(1e-3)
    weight = root * torch.randint(1, 30, (num,), generator=random)
    return mean, variance, weight, torch.randint(40, (num,), generator=random)


def moments(mean: Tensor, variance: Tensor, weight: Tensor, parent: Tensor) -> tuple[Tensor, Tensor]:
    exponent = feature_exponent(mean[:, None]).expand(mean.shape[1])
    return merge_moments(mean, variance, weight, parent, 40, exponent, 16)[:2]


@pytest.mark.parametrize('scale', [1e-15, 1.0, 1e15])
def test_equals_the_definition(scale: float):
    mean, variance, weight, parent = children(0, scale=scale)
    found_mean, found_variance = moments(mean, variance, weight, parent)
    for p in parent.unique().tolist():
        own = parent == p
        share = weight[own] / weight[own].sum()
        center = (share * mean[:, own].double()).sum(1)
        spread = (share * (variance[:, own].double() + (mean[:, own].double() - center[:, None]) ** 2)).sum(1)
        torch.testing.assert_close(found_mean[:, p].double(), center, rtol=1e-6, atol=1e-7 * scale)
        torch.testing.assert_close(found_variance[:, p].double(), spread, rtol=1e-6, atol=1e-7 * scale**2)


def test_weights_are_summed():
    mean, variance, weight, parent = children(4)
    exponent = feature_exponent(mean[:, None]).expand(200)
    total = merge_moments(mean, variance, weight, parent, 40, exponent, 16)[2]
    torch.testing.assert_close(total, torch.bincount(parent, weight, minlength=40), rtol=1e-10, atol=1e-12)


def test_order_of_the_children_changes_no_bit():
    mean, variance, weight, parent = children(1)
    expected = moments(mean, variance, weight, parent)
    for seed in range(5):
        order = torch.randperm(len(weight), generator=torch.Generator().manual_seed(seed))
        found = moments(mean[:, order], variance[:, order], weight[order], parent[order])
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_only_child_keeps_every_bit():
    mean, variance, weight, _ = children(2, num=40)
    variance *= 1e-20  # far below what is left of it after adding and subtracting the squared mean
    parent = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    found_mean, found_variance = moments(mean, variance, weight / 3, parent)
    assert torch.equal(found_mean[:, parent], mean) and torch.equal(found_variance[:, parent], variance)


def test_equal_children_have_no_variance_to_speak_of():
    mean = torch.full((4, 200), 0.7)
    found_mean, found_variance = moments(mean, torch.zeros_like(mean), *children(3)[2:])
    torch.testing.assert_close(found_mean, mean[:, :40])
    assert (found_variance >= 0).all() and (found_variance < 1e-12).all()


@pytest.mark.parametrize('largest', [0.0, 1e-38, 0.999, 1.0, 1.5, 3e38])
def test_exponent_bounds_the_features(largest: float):
    features = torch.tensor([[[largest / 2, -largest]]])
    exponent = feature_exponent(features).item()
    assert largest < 2.0**exponent and (exponent == -64 or 2.0 ** (exponent - 1) <= features.abs().max())


def test_boxes_are_united():
    box = torch.tensor([[0, 2, 5], [3, 1, 4], [1, 2, 6], [3, 7, 4]])
    assert merge_boxes(box, torch.tensor([1, 1, 0]), 2).T.tolist() == [[5, 4, 6, 4], [0, 1, 2, 7]]
