"""Means of selected regions as a function of the features: value and gradient with the structure held fixed."""

import pytest
import torch
from torch import Tensor

from dht_mm.ops import Hierarchy, build_hierarchy, tree_mean
from dht_mm.ops.reference.tree_mean import replay

KERNELS = ('gaussian', 'cosine', 'tanimoto')


def arguments(seed: int, shape: tuple[int, ...] = (1, 2, 4, 5), scale: float = 0.7,
              bias: float = -2.0) -> tuple[Tensor, Tensor, Tensor]:
    """Positive features, for the normalised kernels clip and have no gradient below 0; slope; bias. All float64 leaves."""
    random = torch.Generator().manual_seed(seed)
    features = scale * torch.rand(shape, generator=random, dtype=torch.float64)
    slope = torch.randn(shape[1], generator=random, dtype=torch.float64)
    return features.requires_grad_(), slope.requires_grad_(), torch.tensor(bias, dtype=torch.float64, requires_grad=True)


def structure(leaves: tuple[Tensor, Tensor, Tensor], kernel: str, compactness: float) -> Hierarchy:
    """A hierarchy of several levels; AIC with a large iota takes regions of the last ones."""
    return build_hierarchy(*leaves, kernel=kernel, compactness=compactness, criterion='aic', min_regions=1)


def every_node(found: Hierarchy, features: Tensor) -> Hierarchy:
    """As if all nodes were selected and not only the best: the gradient of whole images runs through all levels."""
    pixels = features.detach().movedim(1, -1).flatten(0, 2)
    node = torch.arange(len(found.parent), dtype=torch.int32)
    size = torch.cat([torch.ones(len(pixels), dtype=torch.int32), found.node_size])
    offsets = found.offsets.new_zeros(len(found.offsets)).index_fill(0, torch.tensor(len(features)), len(node))
    return found._replace(node=node, size=size, offsets=offsets, mean=torch.cat([pixels, found.node_mean]))


def winning_self_edges(found: Hierarchy) -> int:
    """Regions of more than a pixel that propose no merge, the whole images left out."""
    start, stop = found.level_starts[1].item(), found.level_starts[-2].item()
    return int((found.pick[start:stop] == torch.arange(start, stop)).sum())


@pytest.mark.parametrize('bias', [-6.0, 2.0])
@pytest.mark.parametrize('compactness', [0.0, 0.3])
@pytest.mark.parametrize('kernel', KERNELS)
def test_replay_gradcheck(kernel: str, compactness: float, bias: float):
    leaves = arguments(0, bias=bias)
    found = structure(leaves, kernel, compactness)
    assert winning_self_edges(found) > 0 or bias < 0
    found = every_node(found, leaves[0])
    assert torch.autograd.gradcheck(lambda *leaves: replay(*leaves, found, kernel, compactness), leaves)


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('seed', range(2))
def test_gradient_equals_differences_of_the_hierarchy_itself(kernel: str, seed: int):
    """Rebuilding at every shifted input keeps the structure, so the difference quotient is that of the hierarchy's own means."""
    leaves = arguments(seed, (1, 2, 3, 4), bias=0.5)

    def means(*leaves: Tensor) -> Tensor:
        return tree_mean(*leaves, structure(leaves, kernel, 0.1), kernel=kernel, compactness=0.1)

    assert len(means(*leaves)) < leaves[0][:, 0].numel()
    assert torch.autograd.gradcheck(means, leaves, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize('bias', [-2.0, 0.5])
@pytest.mark.parametrize('compactness', [0.0, 0.3])
@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_forward_equals_replay(dtype: torch.dtype, tolerance: float, kernel: str, compactness: float, bias: float):
    leaves = [leaf.detach().to(dtype) for leaf in arguments(1, (2, 8, 17, 14), scale=1.5, bias=bias)]
    found = structure(leaves, kernel, compactness)
    for selection in (found, every_node(found, leaves[0])):
        mean = tree_mean(*leaves, selection, kernel=kernel, compactness=compactness)
        assert mean.dtype == dtype
        torch.testing.assert_close(mean.double(), replay(*leaves, selection, kernel, compactness), rtol=0, atol=tolerance)


def test_gradient_is_the_replays():
    leaves = [leaf.detach().float().requires_grad_() for leaf in arguments(2, (1, 4, 9, 7))]
    found = structure(leaves, 'gaussian', 0.1)
    weight = torch.randn(len(found.size), 4, generator=torch.Generator().manual_seed(0))
    grads = torch.autograd.grad((weight * tree_mean(*leaves, found)).sum(), leaves)
    expected = torch.autograd.grad((weight * replay(*leaves, found, 'gaussian', 0.1)).sum(), leaves)
    for grad, leaf, value in zip(grads, leaves, expected, strict=True):
        assert grad.dtype == leaf.dtype
        torch.testing.assert_close(grad, value)


@pytest.mark.parametrize('kernel', KERNELS)
def test_gradient_is_finite_where_all_weights_underflow(kernel: str):
    """Opposite colours beside each other have weight 0 in every kernel; the mean of a component is then by size."""
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1.0
    features = (40.0 * board).expand(1, 3, 8, 8).clone().requires_grad_()
    slope, bias = torch.zeros(3, requires_grad=True), torch.tensor(-900.0, requires_grad=True)
    found = build_hierarchy(features, slope, bias, kernel=kernel, compactness=0.0, criterion='aic', iota=1.0, min_regions=1)
    every = every_node(found, features)
    mean = tree_mean(features, slope, bias, every, kernel=kernel, compactness=0.0)
    balanced = mean[64:].abs().amax(1) < 1e-4
    assert found.node_size[0] > 1 and balanced.any()
    (mean ** 2).sum().backward()
    assert all(leaf.grad.isfinite().all() for leaf in (features, slope, bias))


def test_equal_features_give_finite_gradients():
    leaves = [torch.full((1, 3, 6, 6), value, requires_grad=True) for value in (0.0, 1.0)]
    for features in leaves:
        for kernel in KERNELS:
            slope, bias = torch.zeros(3, requires_grad=True), torch.tensor(-6.0, requires_grad=True)
            found = build_hierarchy(features, slope, bias, kernel=kernel, compactness=0.0)
            tree_mean(features, slope, bias, found, kernel=kernel, compactness=0.0).sum().backward()
            assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in (features, slope, bias)), kernel


def test_single_pixel_passes_its_gradient():
    features = torch.randn(2, 3, 1, 1, requires_grad=True)
    slope, bias = torch.zeros(3, requires_grad=True), torch.tensor(0.0, requires_grad=True)
    found = build_hierarchy(features, slope, bias)
    tree_mean(features, slope, bias, found).sum().backward()
    assert torch.equal(features.grad, torch.ones_like(features)) and not slope.grad.any() and bias.grad == 0


def test_frozen_inputs_need_no_gradient():
    features, slope, bias = arguments(3)
    found = structure((features, slope, bias), 'gaussian', 0.1)
    tree_mean(features.detach(), slope, bias.detach(), found).sum().backward()
    assert slope.grad is not None and features.grad is None and bias.grad is None
