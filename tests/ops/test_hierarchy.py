"""The hierarchy against a slow reference, and what it promises about batches, threads and layouts."""

from dataclasses import dataclass

import numpy as np
import pytest
import slow_reference
import torch
from torch import Tensor

from dht_mm.ops import Hierarchy, build_hierarchy, tree_mean

KERNELS = ('gaussian', 'cosine', 'tanimoto')
CRITERIA = ('aic', 'aicc', 'bic', 'cic')


def draw_features(random: np.random.Generator, channels: int, height: int, width: int) -> np.ndarray:
    """Features of one image: noise, few values, patches with noise, one colour, two pixels' pattern, or a ramp."""
    scale = random.choice([0.05, 0.3, 1.0, 5.0])
    noise = random.standard_normal((channels, height, width)) * scale
    kind = random.integers(6)
    if kind == 0:
        return noise
    if kind == 1:
        return np.round(noise / scale * 1.5) / 2
    if kind == 2:
        patches = random.standard_normal((channels, (height + 2) // 3, (width + 3) // 4)) * scale
        return np.kron(patches, np.ones((1, 3, 4)))[:, :height, :width] + random.choice([0.0, 0.02]) * noise
    if kind == 3:
        return np.broadcast_to(random.standard_normal((channels, 1, 1)) * scale, noise.shape)
    y, x = np.indices((height, width))
    if kind == 4:
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
        drawn = dict(kernel=random.choice(KERNELS), criterion=random.choice(CRITERIA), compactness=random.choice([0, 0.01, 0.1, 0.5]),
                     iota=random.choice([5.0, 1.0, 0.01]), min_regions=int(random.choice([1, 2, 6, 20])))
        return cls(torch.from_numpy(np.stack(images)).float(), slope, bias, drawn | options)

    def build(self, images: slice | list = slice(None)) -> Hierarchy:
        return build_hierarchy(self.features[images], self.slope, self.bias, **self.options)

    def expect(self, image: int) -> slow_reference.Result:
        return slow_reference.hierarchy(self.features[image].numpy(), self.slope.tolist(), self.bias.item(), **self.options)


def level_maps(found: Hierarchy, image: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Of every level of one image, the last but the whole image: picks, label map, scores and label map before, counted per image."""
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
    means = tree_mean(case.features, case.slope, case.bias, found, kernel=case.options['kernel'], compactness=case.options['compactness'])
    for image in range(len(case.features)):
        check_image(found, means, image, case.expect(image))


@pytest.mark.parametrize('compactness', [0.0, 0.01, 0.1, 0.5])
@pytest.mark.parametrize('criterion', CRITERIA)
@pytest.mark.parametrize('kernel', KERNELS)
def test_equals_the_slow_reference(kernel: str, criterion: str, compactness: float):
    for seed in range(4):
        case = Case.draw(seed + 100 * CRITERIA.index(criterion), kernel=kernel, criterion=criterion, compactness=compactness)
        check_batch(case)
