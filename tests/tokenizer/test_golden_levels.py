"""The first two levels of photographs against those of the published code, each from the golden state of the level before it.

Of larger images the golden state of level 1 is stored in part; there own statistics of the golden regions stand in. Wherever a
pick differs, both candidates must be at most one step apart in the 16 bits at which weights are compared: a near-tie that float32
decides otherwise.
"""

from dataclasses import dataclass

import pytest
import torch
from test_golden_partition import NAMES
from torch import Tensor

from dht_mm.ops.reference import components
from dht_mm.ops.reference.edge_weight import quantize
from dht_mm.ops.reference.hierarchy import _Builder, _Level, grid_edges, pair_weight, picked_weight, self_weight


@dataclass
class FirstLevels:
    """Levels 0, 1 and 2 with the golden structure between them."""

    builder: _Builder
    edges: tuple[Tensor, Tensor]
    lifted: tuple[Tensor, Tensor]
    to_first: Tensor
    to_second: Tensor


def first_pixels(parent: Tensor) -> Tensor:
    index = torch.arange(len(parent))
    return torch.full((int(parent.max()) + 1,), len(parent)).scatter_reduce(0, parent, index, 'amin')


def merge(builder: _Builder, level: _Level, edges: tuple[Tensor, Tensor], parent: Tensor) -> _Level:
    """The next level by own picks' weights and golden parents."""
    level.pick, level.parent = builder._pick(level, edges), parent
    return builder._merge(level, first_pixels(parent))


@pytest.fixture(scope='module')
def first_levels(golden):
    """Builds the first levels of a golden image, once."""
    built: dict[str, FirstLevels] = {}

    def build(name: str) -> FirstLevels:
        if name in built:
            return built[name]
        data = golden(name)
        tokenizer, options = data.tokenizer, data.tokenizer.options
        with torch.no_grad():
            slope, bias = tokenizer.self_edge.weight[0], tokenizer.self_edge.bias[0]
            builder = _Builder(tokenizer.projection(data.image), slope, bias, **options)
            edges = grid_edges(1, *data.image.shape[2:], data.image.device)
            to_first = data.tensor('level1_seg').flatten().long()
            to_second = data.tensor('level2_seg').flatten().long()[first_pixels(to_first)]
            first = merge(builder, builder.levels[0], edges, to_first)
            builder.levels.append(first)
            built[name] = FirstLevels(builder, edges, builder._lift(edges, to_first), to_first, to_second)
        return built[name]

    return build


def golden_first_level(levels: FirstLevels, mean: Tensor) -> _Level:
    """Level 1 with the golden means put in as far as they are stored."""
    first = levels.builder.levels[1]
    whole = first.mean.clone()
    whole[:, :len(mean)] = mean.T
    return _Level(whole, first.variance, first.size, first.box, first.image, first.score)


def contradictions(builder: _Builder, level: _Level, edges: tuple[Tensor, Tensor], parent: Tensor,
                   first: bool) -> tuple[Tensor, int]:
    """How many 16-bit steps each pick that leaves its golden region lies above the best that does not, and pieces too many."""
    index = torch.arange(len(level))
    weight = quantize(pair_weight(level.mean, level.size, level.box, *edges, builder.kernel, builder.compactness))
    source, target, weight = torch.cat(edges), torch.cat(edges[::-1]), weight.repeat(2)
    if not first:
        own = quantize(self_weight(level.variance, level.size, level.box, builder.slope, builder.bias, builder.compactness))
        source, target, weight = torch.cat([source, index]), torch.cat([target, index]), torch.cat([weight, own])
    key, inside = (weight << 32) | target, parent[source] == parent[target]
    best = torch.full_like(index, -1).scatter_reduce(0, source, key, 'amax')
    best_inside = torch.full_like(index, -1).scatter_reduce(0, source[inside], key[inside], 'amax')
    assert torch.equal(best & 0xFFFFFFFF, builder._pick(level, edges))
    pieces = components.number_roots(components.components_of_picks(best_inside & 0xFFFFFFFF))[1]
    return ((best >> 32) - (best_inside >> 32))[best != best_inside], len(pieces) - int(parent.max()) - 1


@pytest.mark.parametrize('name', NAMES)
def test_weights_of_the_picked_edges(first_levels, golden, name: str):
    data, builder = golden(name), first_levels(name).builder
    pixels = builder.levels[0]
    weight = picked_weight(pixels.mean, pixels.variance, pixels.size, pixels.box, pixels.pick, builder.slope, builder.bias,
                           builder.kernel, builder.compactness)
    expected = data.tensor('level1_weight').double()
    torch.testing.assert_close(weight[:len(expected)], expected, rtol=0, atol=1e-4)


def test_first_picks(first_levels):
    identical = 0
    for name in NAMES:
        levels = first_levels(name)
        pixels = levels.builder.levels[0]
        steps, pieces = contradictions_of_pixels(levels)
        assert (steps <= 1).all() and len(steps) <= 2e-4 * len(pixels) and pieces <= 1e-4 * len(pixels), name
        own = components.number_roots(components.components_of_picks(pixels.pick))[0]
        identical += torch.equal(own, levels.to_first)
    assert identical >= 6


def contradictions_of_pixels(levels: FirstLevels) -> tuple[Tensor, int]:
    builder = levels.builder
    first = builder.levels.pop()  # a builder without it is at level 0, where no pixel has a self edge
    try:
        return contradictions(builder, builder.levels[0], levels.edges, levels.to_first, first=True)
    finally:
        builder.levels.append(first)


@pytest.mark.parametrize('name', NAMES)
def test_first_means_and_scores(first_levels, golden, name: str):
    data, levels = golden(name), first_levels(name)
    first, mean = levels.builder.levels[1], data.tensor('level1_mean')
    torch.testing.assert_close(first.mean.T[:len(mean)], mean, rtol=0, atol=1e-4)
    torch.testing.assert_close(levels.builder._score(first), data.tensor('level1_info').double(), rtol=0, atol=1e-4)


@pytest.mark.parametrize('name', NAMES)
def test_second_level_from_the_golden_first(first_levels, golden, name: str):
    data, levels = golden(name), first_levels(name)
    builder, mean = levels.builder, data.tensor('level1_mean')
    first = golden_first_level(levels, mean)
    steps, pieces = contradictions(builder, first, levels.lifted, levels.to_second, first=False)
    if len(mean) == len(first):
        own, _ = components.number_roots(components.components_of_picks(builder._pick(first, levels.lifted)))
        assert torch.equal(own, levels.to_second)
    assert (steps <= 1).all() and len(steps) <= 1 and pieces == 0
    second = merge(builder, first, levels.lifted, levels.to_second)
    torch.testing.assert_close(second.mean.T, data.tensor('level2_mean'), rtol=0, atol=1e-4)
    torch.testing.assert_close(second.variance.T, data.tensor('level2_var'), rtol=0, atol=1e-4)
    torch.testing.assert_close(builder._score(second), data.tensor('level2_info').double(), rtol=0, atol=1e-4)


@pytest.mark.parametrize('name', NAMES)
def test_region_counts_of_all_levels(golden, name: str):
    data = golden(name)
    starts = data.tokenizer.hierarchy(data.image).level_starts
    counts = starts.diff()[1:-1]
    expected = data.tensor('level_counts')
    assert len(counts) == len(expected)
    assert ((counts - expected).abs() <= (1e-4 * expected).clamp_min(3)).all()
