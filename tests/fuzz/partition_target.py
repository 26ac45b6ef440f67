"""Random images through random tokenizers: every partition holds all invariants."""

import copy
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from draws import Draws, choice, draw_images, one_in, subset
from refusals import refused
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from dht_mm.ops import Hierarchy, backend_info, use_backend
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer, GridTokenizer, QuadtreeTokenizer, SLICTokenizer

OPTIONS = dict(
    kernel=('gaussian', 'cosine', 'tanimoto'), compactness=(0.1, 0.0, 0.01, 0.9), criterion=('aicc', 'aic', 'bic', 'cic'),
    iota=(5.0, 1e-6, 0.5, 1e6), min_regions=(6, 1, 2, 50), hidden_channels=(8, 1, 3, 16))
BUDGETS = (None, None, *(dict(mode=mode, test=target, train=target) for target in (None, 1, 5) for mode in ('soft', 'hard', 'exact')),
           dict(mode='exact', test=60, train=60), *(dict(mode=mode, test=5, train=5, spread=0.1) for mode in ('hard', 'exact')))
INTEGERS = ('num_regions', 'offsets', 'bbox', 'size')


@lru_cache(64)
def dht_tokenizer(seed: int, options: tuple) -> DHTTokenizer:
    """Of random weights, some with self edges that matter."""
    torch.manual_seed(seed)
    tokenizer = DHTTokenizer(**dict(options))
    if seed:
        nn.init.normal_(tokenizer.self_edge.weight, std=seed)
        nn.init.normal_(tokenizer.self_edge.bias, std=seed)
    return tokenizer


def draw_tokenizer(draws: Draws) -> nn.Module:
    """One of all kinds, mostly the hierarchical one."""
    kind = draws.integer(0, 39)
    if kind == 37:
        return GridTokenizer(draws.integer(1, 20))
    if kind == 38:
        return QuadtreeTokenizer(choice(draws, (9, None, 1)), min_size=draws.integer(1, 5), threshold=choice(draws, (0.0, 0.5)))
    if kind == 39:
        return SLICTokenizer(draws.integer(1, 30))
    options = subset(draws, OPTIONS)
    if budget := choice(draws, BUDGETS):
        options['token_budget'] = Frozen(budget)
    return dht_tokenizer(draws.integer(0, 3), tuple(options.items()))


class Frozen(dict):
    """A config that can be a key."""

    def __hash__(self) -> int:
        return hash(tuple(self.items()))


def partition_target(draws: Draws) -> int:
    """One case; the number of partitions that were checked."""
    tokenizer, images = draw_tokenizer(draws).eval(), draw_images(draws)
    train, number = one_in(draws, 4), draws.integer(0, 7) % len(images)
    tokenizer = copy.deepcopy(tokenizer) if train else tokenizer  # huge images leave running variances beyond float32, as in torch's norms
    found = []
    with torch.set_grad_enabled(train):
        message = refused(lambda: found.append(tokenizer.train(train)(images)))
    if message is not None:  # images are finite, but their features or means need not be
        single = train and len(images) == 1 and max(images.shape[2:]) <= 4 and 'more than one value' in message  # of the coarse branch
        assert single or (images.abs().max() > 1e30 and 'finite' in message), message
        return 0
    partition, = found
    check_partition(partition, images)
    check_budget(partition, tokenizer, images, train)
    if train:
        check_gradient(partition, tokenizer, images)
    else:
        check_alone(tokenizer, partition, images, number)
        if one_in(draws, 40) and backend_info()['loaded']:
            check_backends(tokenizer, partition, images)
        if one_in(draws, 8) and isinstance(tokenizer, DHTTokenizer):
            check_fixed(tokenizer, partition, images, draws)
    return len(images)


def check_partition(partition: Partition, images: Tensor) -> None:
    """Labels are canonical and connected, all fields are those of the labels, and all numbers are finite."""
    expected = Partition.from_labels(partition.labels, torch.zeros(len(images), 1, *images.shape[2:]))
    assert partition.labels.dtype == torch.int32
    for name in INTEGERS:
        actual = getattr(partition, name)
        assert actual.dtype == torch.int32 and torch.equal(actual, getattr(expected, name)), name
    assert count_pieces(partition.packed_labels.numpy()) == partition.total_regions, 'a region is not 4-connected'
    assert partition.color.shape == (partition.total_regions, images.shape[1])
    assert partition.mean.isfinite().all() and partition.color.isfinite().all()


def count_pieces(labels: np.ndarray) -> int:
    """4-connected pieces of equal label in ``[B, H, W]`` labels, none of which two images share."""
    index = np.arange(labels.size).reshape(labels.shape)
    right, below = labels[:, :, :-1] == labels[:, :, 1:], labels[:, :-1] == labels[:, 1:]
    first = np.concatenate([index[:, :, :-1][right], index[:, :-1][below]])
    second = np.concatenate([index[:, :, 1:][right], index[:, 1:][below]])
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(labels.size, labels.size))
    return connected_components(graph, directed=False, return_labels=False)


def check_budget(partition: Partition, tokenizer: nn.Module, images: Tensor, train: bool) -> None:
    budget = getattr(tokenizer, 'token_budget', None)
    if budget is not None and budget.mode != 'soft':
        target = budget.target(partition.labels[0].numel(), train)
        assert partition.num_regions.max() <= target
        if budget.mode == 'exact' and budget.spread is None and not train:
            check_exact(partition, tokenizer.hierarchy(images), target)
    if isinstance(tokenizer, QuadtreeTokenizer) and tokenizer.num_regions is not None:
        assert partition.num_regions.max() <= tokenizer.num_regions


def check_exact(partition: Partition, hierarchy: Hierarchy, target: int) -> None:
    """Fewer regions than the target are those of level 1, or the selected ones where these are more."""
    most = hierarchy.num_regions.long()
    if len(hierarchy.level_starts) > 3:
        image = torch.arange(len(most)).repeat_interleave(partition.labels[0].numel())
        nodes = torch.stack([image, hierarchy.parent[:len(image)].long()]).unique(dim=1)
        most = torch.maximum(most, nodes[0].bincount(minlength=len(most)))
    assert torch.equal(partition.num_regions.long(), most.clamp_max(target))


def check_gradient(partition: Partition, tokenizer: nn.Module, images: Tensor) -> None:
    """Of ordinary numbers it is finite; beyond about 1e18 squares overflow in float32, as does the slope of an angle between features that
    are nearly denormal."""
    tiny = isinstance(tokenizer, DHTTokenizer) and tokenizer.options['kernel'] != 'gaussian' and images.abs().max() < 1e-30
    if tiny or not partition.color.requires_grad or partition.color.detach().abs().max() > 1e3:
        return
    parameters = [*tokenizer.parameters()]
    grads = torch.autograd.grad(partition.color.sum(), parameters, allow_unused=True)
    assert all(grad is None or grad.isfinite().all() for grad in grads), 'a gradient is not finite'


def check_alone(tokenizer: nn.Module, partition: Partition, images: Tensor, number: int) -> None:
    """An image by itself has the regions that it has in the batch, bit for bit."""
    alone = tokenizer(images[number:number + 1].clone())
    rows = slice(int(partition.offsets[number]), int(partition.offsets[number + 1]))
    assert torch.equal(alone.labels[0], partition.labels[number]), 'labels depend on the batch'
    dht = isinstance(tokenizer, DHTTokenizer)  # the others' means are sums of PyTorch
    assert not dht or torch.equal(alone.mean, partition.mean[rows]) and torch.equal(alone.color, partition.color[rows])


def check_backends(tokenizer: nn.Module, partition: Partition, images: Tensor) -> None:
    with use_backend('torch'):
        other = tokenizer(images)
    assert torch.equal(other.labels, partition.labels), 'backends disagree'


def check_fixed(tokenizer: DHTTokenizer, partition: Partition, images: Tensor, draws: Draws) -> None:
    """A fixed length may be too short without a budget; with one it is long enough for all that is merged."""
    budget, pixels = tokenizer.token_budget, images[0, 0].numel()
    if budget is None:
        capacity = draws.integer(1, 2 * partition.total_regions)
        check_capacity(tokenizer, partition, images, capacity, capacity)
    elif budget.mode != 'soft':
        check_capacity(tokenizer, partition, images, len(images) * pixels, len(images) * min(pixels, budget.target(pixels, False)))


def check_capacity(tokenizer: DHTTokenizer, partition: Partition, images: Tensor, capacity: int, rows: int) -> None:
    """Fields of a fixed length hold the same, or tell that they cannot."""
    try:
        tokenizer.capacity = capacity
        fixed = tokenizer(images)
    finally:
        tokenizer.capacity = None
    count = partition.total_regions
    if count > capacity:
        assert (fixed.num_regions == -1).all() and not fixed.labels.any()
        return
    packed = replace(fixed, **{name: getattr(fixed, name)[:count] for name in ('bbox', 'size', 'mean', 'color')})
    assert all(torch.equal(getattr(packed, name), getattr(partition, name)) for name in ('labels', *INTEGERS, 'mean', 'color'))
    assert not fixed.size[count:].any() and not fixed.bbox[count:].any() and len(fixed.size) == rows
