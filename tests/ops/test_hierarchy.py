"""The hierarchy against a slow reference, and what it promises about batches, threads and layouts."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import slow_reference
import torch
from torch import Tensor

from dht_mm.ops import Hierarchy, build_hierarchy, tree_mean

KERNELS = ('gaussian', 'cosine', 'tanimoto')
CRITERIA = ('aic', 'aicc', 'bic', 'cic')


def draw_features(random: np.random.Generator, channels: int, height: int, width: int) -> np.ndarray:
    """Features of one image: noise, few values, patches with noise, one colour, dominoes, a checkerboard, or a ramp."""
    scale = random.choice([0.05, 0.3, 1.0, 5.0])
    noise = random.standard_normal((channels, height, width)) * scale
    kind = random.integers(7)
    if kind == 0:
        return noise
    if kind == 1:
        return np.round(noise / scale * 1.5) / 2
    if kind == 2:
        patches = random.standard_normal((channels, (height + 2) // 3, (width + 3) // 4)) * scale
        return np.kron(patches, np.ones((1, 3, 4)))[:, :height, :width] + random.choice([0.0, 0.02]) * noise
    if kind == 3:
        return np.broadcast_to(random.standard_normal((channels, 1, 1)) * scale, noise.shape)
    if kind == 4:
        return np.repeat(noise, 2, axis=2)[:, :, :width]
    y, x = np.indices((height, width))
    if kind == 5:
        return np.broadcast_to((y + x) % 2 * scale, noise.shape)
    return np.broadcast_to((y + 2 * x) / 8, noise.shape)


@dataclass
class Case:
    """A random batch of one size with random options."""

    features: Tensor
    slope: Tensor
    bias: Tensor
    options: dict

    @classmethod
    def draw(cls, seed: int, **options) -> 'Case':
        random = np.random.default_rng(seed)
        batch, channels = int(random.integers(1, 4)), int(random.choice([1, 2, 8]))
        height, width = (int(side) for side in random.integers(1, 13, 2))
        images = [draw_features(random, channels, height, width) for _ in range(batch)]
        slope = torch.from_numpy(random.standard_normal(channels) * random.choice([1e-4, 1.0])).float()
        bias = torch.tensor(random.choice([-6.28, -1.0, 1.0])).float()
        drawn = dict(kernel=random.choice(KERNELS), criterion=random.choice(CRITERIA),
                     compactness=random.choice([0, 0.01, 0.1, 0.5]), iota=random.choice([5.0, 1.0, 0.01]),
                     min_regions=int(random.choice([1, 2, 6, 20])))
        return cls(torch.from_numpy(np.stack(images)).float(), slope, bias, drawn | options)

    def build(self, images: slice | list = slice(None)) -> Hierarchy:
        return build_hierarchy(self.features[images], self.slope, self.bias, **self.options)

    def expect(self, image: int, **order) -> slow_reference.Result:
        return slow_reference.hierarchy(self.features[image].numpy(), self.slope.tolist(), self.bias.item(), **self.options, **order)


def level_maps(found: Hierarchy, image: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Picks, label map, scores and label map before of every level of one image but the last, counted per image."""
    batch, height, width = found.labels.shape
    starts, num_pixels = found.level_starts.tolist(), height * width
    node = torch.arange(batch * num_pixels).view(batch, height, width)[image]
    maps = []
    for start, stop in zip(starts[1:-2], starts[2:-1], strict=True):
        children, node = node, found.parent[node].long()
        own = node.unique()
        assert own.min() >= start and own.max() < stop
        picks = found.pick[children.unique()].long() - children.min()
        scores = found.node_score[own - batch * num_pixels]
        maps.append((picks.numpy(), (node - node.min()).numpy(), scores.numpy(), (children - children.min()).numpy()))
    return maps


def check_image(found: Hierarchy, means: Tensor, image: int, expected: slow_reference.Result) -> None:
    """One image of a batch is what the slow reference says, at every level and in the end."""
    maps = level_maps(found, image)
    active = len(expected.picks)
    for (picks, labels, scores, _), expected_picks, expected_labels, expected_scores in zip(
            maps[:active], expected.picks, expected.level_labels, expected.level_scores, strict=True):
        assert picks.tolist() == expected_picks
        assert np.array_equal(labels, expected_labels)
        np.testing.assert_allclose(scores, expected_scores, rtol=1e-5, atol=1e-5)
    for picks, labels, scores, before in maps[active:]:
        assert np.array_equal(labels, before), 'a stopped image is merged no further'
        assert picks.tolist() == list(range(len(picks))) and (scores == -np.inf).all()
    assert np.array_equal(found.labels[image].numpy(), expected.labels)
    stop = int(found.num_regions[:image + 1].sum())
    rows = slice(stop - len(expected.sizes), stop)
    assert found.num_regions[image] == len(expected.sizes)
    assert found.size[rows].tolist() == expected.sizes
    assert found.bbox[rows].tolist() == [list(box) for box in expected.boxes]
    np.testing.assert_allclose(means[rows], expected.means, rtol=1e-5, atol=1e-6)


def check_batch(case: Case) -> None:
    found = case.build()
    kernel, compactness = case.options['kernel'], case.options['compactness']
    means = tree_mean(case.features, case.slope, case.bias, found, kernel=kernel, compactness=compactness)
    for image in range(len(case.features)):
        check_image(found, means, image, case.expect(image))


@pytest.mark.parametrize('compactness', [0.0, 0.01, 0.1, 0.5])
@pytest.mark.parametrize('criterion', CRITERIA)
@pytest.mark.parametrize('kernel', KERNELS)
def test_equals_the_slow_reference(kernel: str, criterion: str, compactness: float):
    for seed in range(4):
        case = Case.draw(seed + 100 * CRITERIA.index(criterion), kernel=kernel, criterion=criterion, compactness=compactness)
        check_batch(case)


def test_draws_cover_what_they_should():
    """The random cases reach deep levels, winning self edges, stops by every rule, whole images and many regions."""
    cases = [Case.draw(seed) for seed in range(60)]
    results = [(case, case.expect(0)) for case in cases]
    assert max(len(result.picks) for _, result in results) == 4
    assert any(u == v for _, result in results for picks in result.picks[1:] for u, v in enumerate(picks))
    assert any(not result.picks for _, result in results)
    assert {len(result.sizes) == 1 for _, result in results} == {True, False}
    assert len({tuple(case.options.values()) for case in cases}) > 40


def test_mirrored_features_give_the_mirrored_partition_up_to_ties():
    """Where no weights are equal, or none that matter, it is the mirrored partition; always, if ties go by the mirrored order of pixels."""
    mirrored = []
    for seed in range(40):
        case = Case.draw(seed)
        own = case.build().labels
        for image, labels in enumerate(replace(case, features=case.features.flip(-1)).build().labels.flip(-1)):
            expected = case.expect(image, order=slow_reference.mirrored_order).labels
            assert np.array_equal(canonical(labels.numpy()), expected)
            mirrored.append(np.array_equal(expected, own[image]))
    assert len(mirrored) / 2 < sum(mirrored) < len(mirrored)


def canonical(labels: np.ndarray) -> np.ndarray:
    """Labels numbered in the order of their first pixels."""
    _, first, own = np.unique(labels, return_index=True, return_inverse=True)
    return first.argsort().argsort()[own].reshape(labels.shape)


@pytest.mark.parametrize('seed', range(6))
def test_images_of_different_depth_equal_the_slow_reference_in_one_batch(seed: int):
    """Dominoes stop as nothing improves, two colours at min_regions; noise goes on for two more levels."""
    case = Case.draw(seed, kernel='gaussian', criterion='aicc', compactness=0.0, min_regions=2)
    random = np.random.default_rng(seed)
    noise = random.standard_normal((4, 10, 12))
    halves = np.where(np.arange(12) < 5, 0.0, 3.0)
    images = [np.repeat(noise, 2, axis=2)[:, :, :12], np.broadcast_to(halves, noise.shape), 0.3 * noise]
    case.features = torch.from_numpy(np.stack(images)[random.permutation(3)]).float()
    case.slope, case.bias = torch.zeros(4), torch.tensor(-6.0)
    assert sorted(len(case.expect(image).picks) for image in range(3)) == [1, 1, 3]
    check_batch(case)


def test_image_stops_where_no_region_improves():
    """AICc refuses pairs of pixels in an image this small, so the hierarchy of dominoes ends before their squares are tried."""
    dominoes = 0.5 * torch.randn(1, 4, 8, 4, generator=torch.Generator().manual_seed(0)).repeat_interleave(2, 3)
    arguments = torch.zeros(4), torch.tensor(-6.0)
    aicc, aic = (build_hierarchy(dominoes, *arguments, criterion=criterion, min_regions=1) for criterion in ('aicc', 'aic'))
    assert len(aicc.level_starts) == 1 + 3 and (aicc.node_size[:32] == 2).all()
    assert len(aic.level_starts) == 3 + 3


def test_four_quadrants_are_four_regions():
    quadrants = torch.tensor([[[0., 3.], [6., 9.]]]).repeat_interleave(8, 1).repeat_interleave(8, 2)
    found = build_hierarchy(quadrants[None], torch.zeros(1), torch.tensor(-6.0))
    expected = torch.tensor([[0, 1], [2, 3]]).repeat_interleave(8, 0).repeat_interleave(8, 1)
    assert torch.equal(found.labels[0].long(), expected)
    assert found.bbox.tolist() == [[0, 0, 7, 7], [0, 8, 7, 15], [8, 0, 15, 7], [8, 8, 15, 15]]
    assert found.size.tolist() == [64] * 4


def test_one_colour_is_one_region():
    found = build_hierarchy(torch.full((2, 8, 9, 11), 0.7), torch.zeros(8), torch.tensor(-6.0))
    assert found.num_regions.tolist() == [1, 1] and found.size.tolist() == [99, 99]
    assert found.node.tolist() == list(range(*found.level_starts[-2:].tolist())), 'of equal scores the later candidate is taken'


def test_whole_image_is_a_candidate_also_of_images_without_levels():
    """With nothing to merge before, 2x3 pixels are either six regions or one: whichever scores at least as well."""
    random = torch.Generator().manual_seed(0)
    image = torch.randn(1, 2, 2, 3, generator=random)
    flat, varied = (build_hierarchy(scale * image, torch.zeros(2), torch.tensor(-6.0), iota=0.1) for scale in (0.01, 30.0))
    assert flat.level_starts.tolist() == [0, 6, 7] and flat.num_regions.tolist() == [1]
    assert varied.level_starts.tolist() == [0, 6, 7] and varied.num_regions.tolist() == [6]
    torch.testing.assert_close(flat.node_mean[0], 0.01 * image.mean((0, 2, 3)))
    torch.testing.assert_close(flat.node_variance[0], (0.01 * image).var((0, 2, 3), correction=0))


def test_single_pixel_keeps_its_feature():
    feature = torch.tensor([1.5, -2.0])
    found = build_hierarchy(feature.view(1, 2, 1, 1), torch.zeros(2), torch.tensor(0.0))
    mean = tree_mean(feature.view(1, 2, 1, 1), torch.zeros(2), torch.tensor(0.0), found)
    assert found.labels.tolist() == [[[0]]] and torch.equal(mean, feature[None])


def test_each_image_stops_alone():
    """Noise that stops at its first levels beside an image that merges to the last: neither sees the other."""
    random = torch.Generator().manual_seed(1)
    noise = 8 * torch.randn(8, 12, 12, generator=random)
    smooth = torch.linspace(0, 1, 12).expand(8, 12, 12) + 0.01 * torch.randn(8, 12, 12, generator=random)
    options = dict(compactness=0.0, min_regions=1)
    arguments = torch.zeros(8), torch.tensor(-6.0)
    pair = build_hierarchy(torch.stack([noise, smooth]), *arguments, **options)
    alone = [build_hierarchy(image[None], *arguments, **options) for image in (noise, smooth)]
    assert len(alone[0].level_starts) != len(alone[1].level_starts), 'the images do not differ in depth'
    for image, single in enumerate(alone):
        assert torch.equal(pair.labels[image], single.labels[0])


def regions_of(found: Hierarchy, image: int) -> list[Tensor]:
    """What a caller sees of one image: labels, boxes, sizes, and mean and variance of the nodes selected."""
    stop = int(found.num_regions[:image + 1].sum())
    rows = slice(stop - int(found.num_regions[image]), stop)
    nodes = found.node[rows].long() - found.labels.numel()
    merged = nodes >= 0
    return [found.labels[image], found.bbox[rows], found.size[rows], merged,
            found.node_mean[nodes[merged]], found.node_variance[nodes[merged]], found.node_score[nodes[merged]]]


@pytest.mark.parametrize('seed', range(12))
def test_place_in_the_batch_changes_no_bit(seed: int):
    random = np.random.default_rng(seed)
    case = Case.draw(seed)
    height, width = (int(side) for side in random.integers(4, 24, 2))
    images = [draw_features(random, len(case.slope), height, width) for _ in range(4)]
    case.features = torch.from_numpy(np.stack(images)).float()
    whole = case.build()
    for order in ([0], [3], [2, 0], [3, 2, 1, 0], [1, 1]):
        found = case.build(order)
        for place, image in enumerate(order):
            for first, second in zip(regions_of(whole, image), regions_of(found, place), strict=True):
                assert torch.equal(first, second)


def test_threads_and_repetition_change_no_bit(other_threads):
    random = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, 8, 20, 25, generator=random)
    features = torch.nn.functional.interpolate(coarse, scale_factor=8) + 0.1 * torch.randn(2, 8, 160, 200, generator=random)
    arguments = features, torch.full((8,), 0.1), torch.tensor(-2.0)
    once, again = build_hierarchy(*arguments), build_hierarchy(*arguments)
    with other_threads():
        threaded = build_hierarchy(*arguments)
    for first, second, third in zip(once, again, threaded, strict=True):
        assert torch.equal(first, second) and torch.equal(first, third)


def test_layout_of_the_input_does_not_matter():
    case = Case.draw(7)
    features = torch.randn(2, 8, 9, 14, generator=torch.Generator().manual_seed(0))
    case.features, case.slope = features, torch.zeros(8)
    expected = case.build()
    for other in (features.to(memory_format=torch.channels_last), features.mT.contiguous().mT,
                  torch.stack([features, features + 1], -1)[..., 0]):
        assert not other.is_contiguous() and torch.equal(other, features)
        case.features = other
        for first, second in zip(expected, case.build(), strict=True):
            assert torch.equal(first, second)


@pytest.mark.parametrize('seed', range(6))
def test_nodes_are_numbered_by_their_first_pixels_at_every_level(seed: int):
    features = torch.from_numpy(np.stack([draw_features(np.random.default_rng([seed, i]), 4, 13, 11) for i in range(3)])).float()
    found = build_hierarchy(features, torch.zeros(4), torch.tensor(-3.0), compactness=0.01, min_regions=1)
    node = torch.arange(features[:, 0].numel())
    for start, stop in zip(found.level_starts[1:-1].tolist(), found.level_starts[2:].tolist(), strict=True):
        node = found.parent[node].long()
        values, counts = node.unique(return_counts=True)
        first = torch.full((stop - start,), node.numel()).scatter_reduce(0, node - start, torch.arange(node.numel()), 'amin')
        assert torch.equal(values, torch.arange(start, stop)) and (first.diff() > 0).all()
        assert torch.equal(found.node_size[start - node.numel():stop - node.numel()].long(), counts)


def test_huge_features_end_in_a_valid_partition():
    features = 1e37 * torch.randn(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    for kernel in KERNELS:
        for compactness in (0.0, 0.1):
            found = build_hierarchy(features, torch.ones(3), torch.tensor(-6.0), kernel=kernel, compactness=compactness)
            assert int(found.size.sum()) == 81 and found.node_mean.isfinite().all()


@pytest.mark.parametrize(('change', 'message'), [
    (dict(features=torch.zeros(3, 4, 4)), r'features must be .* got torch.float32 of shape \(3, 4, 4\)'),
    (dict(features=torch.zeros(1, 3, 0, 4)), r'features must be .*\(1, 3, 0, 4\)'),
    (dict(features=torch.zeros(0, 3, 4, 4)), r'features must be .*\(0, 3, 4, 4\)'),
    (dict(features=torch.zeros(1, 3, 4, 4).half()), 'features must be .* got torch.float16'),
    (dict(slope=torch.zeros(2)), r'slope and bias must be \[3\] and \[\], got \(2,\) and \(\)'),
    (dict(bias=torch.zeros(1)), r'slope and bias must be \[3\] and \[\], got \(3,\) and \(1,\)'),
    (dict(kernel='rbf'), "kernel must be one of .*'gaussian'.* got 'rbf'"),
    (dict(criterion='mdl'), "criterion must be one of .*'aicc'.* got 'mdl'"),
    (dict(compactness=1.0), r'compactness must be in \[0, 1\), got 1.0'),
    (dict(compactness=-0.1), r'compactness must be in \[0, 1\), got -0.1'),
    (dict(compactness=float('nan')), r'compactness must be in \[0, 1\), got nan'),
    (dict(iota=0.0), 'iota must be positive and finite, got 0.0'),
    (dict(iota=float('inf')), 'iota must be positive and finite, got inf'),
    (dict(min_regions=0), 'min_regions must be a positive integer, got 0'),
    (dict(min_regions=2.5), 'min_regions must be a positive integer, got 2.5')])
def test_bad_arguments_are_named(change: dict, message: str):
    arguments = dict(features=torch.zeros(1, 3, 4, 4), slope=torch.zeros(3), bias=torch.tensor(0.0)) | change
    features, slope, bias = (arguments.pop(name) for name in ('features', 'slope', 'bias'))
    with pytest.raises(ValueError, match=message):
        build_hierarchy(features, slope, bias, **arguments)
