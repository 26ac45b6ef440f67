"""The compiled kernels give the bits of the pure-torch definition, whatever the image, the options, the batch and the threads.

On the GPU the compiled CUDA kernels are held to the compiled CPU kernels, which are held to the definition here too.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dht_mm.ops import Hierarchy, backend_info, build_hierarchy, project, use_backend

INFO = backend_info()
KERNELS = ('gaussian', 'cosine', 'tanimoto')
CRITERIA = ('aic', 'aicc', 'bic', 'cic')
COMPACTNESS = (0.0, 0.01, 0.1, 0.5)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
LAYERS = (('conv.ds.0', 'conv.ds.1'), ('conv.cv.0', 'conv.cv.1'), ('conv.cv.3', 'conv.cv.4'))

pytestmark = pytest.mark.skipif(not INFO['loaded'], reason=f'needs the compiled operators: {INFO["library"]}')


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def bits(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    return tensor.dtype, tuple(tensor.shape), tensor.detach().cpu().contiguous().numpy().tobytes()


def check_same(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], names: tuple[str, ...]) -> None:
    wrong = [name for name, first, second in zip(names, actual, expected, strict=True) if bits(first) != bits(second)]
    assert not wrong, f'{wrong} differ'


def without_idle_levels(found: Hierarchy) -> Hierarchy:
    """Leaves out the levels in which every image has stopped. On a GPU they are built too, because the host does not ask there."""
    starts, num_pixels = found.level_starts.tolist(), found.labels.numel()
    levels = [found.node_score[start - num_pixels:stop - num_pixels] for start, stop in zip(starts[1:-2], starts[2:-1], strict=True)]
    kept = 1 + sum(not scores.isneginf().all() for scores in levels)
    cut, whole, stop = starts[kept], starts[-2], starts[-1]
    parent = found.parent.long()
    while (idle := (parent >= cut) & (parent < whole)).any():
        parent = torch.where(idle, parent[parent.clamp_min(0)], parent)
    rows = torch.cat([torch.arange(cut), torch.arange(whole, stop)])

    def renumber(nodes: Tensor) -> Tensor:
        return torch.where(nodes >= whole, nodes - (whole - cut), nodes).int()

    return found._replace(
        node=renumber(found.node), parent=renumber(parent[rows]), pick=renumber(found.pick[rows]),
        level_starts=torch.tensor([*starts[:kept], cut, cut + stop - whole]),
        **{name: getattr(found, name)[rows[rows >= num_pixels] - num_pixels] for name in found._fields if name.startswith('node_')})


def check_hierarchy(device: str, features: Tensor, slope: Tensor, bias: Tensor, **options) -> None:
    with use_backend('torch' if device == 'cpu' else 'ext'):
        expected = build_hierarchy(features, slope, bias, **options)
    with use_backend('ext'):
        actual = build_hierarchy(features.to(device), slope.to(device), bias.to(device), **options)
    if device == 'cuda':
        actual = without_idle_levels(Hierarchy(*(tensor.cpu() for tensor in actual)))
    check_same(actual, expected, expected._fields)


Layer = tuple[Tensor, ...]
"""Weight, bias, gamma, beta, mean and variance of a linear map with batch norm."""


def features_of(image: Tensor, layers: list[Layer]) -> Tensor:
    return project(image, [[tensor.to(image.device) for tensor in layer] for layer in layers], [1e-5] * 3)


def check_projection(device: str, image: Tensor, layers: list[Layer]) -> Tensor:
    """Also returns the features."""
    with use_backend('torch' if device == 'cpu' else 'ext'):
        expected = features_of(image, layers)
    with use_backend('ext'):
        actual = features_of(image.to(device), layers)
    check_same((actual,), (expected,), ('features',))
    return expected


def draw_layers(random: torch.Generator, in_channels: int, channels: int) -> list[Layer]:
    """Layers of a projection with positive variances."""
    return [(torch.randn(outputs, inputs, generator=random) / inputs**0.5, *torch.randn(4, outputs, generator=random),
             0.1 + torch.rand(outputs, generator=random))
            for outputs, inputs in ((channels, in_channels), (4 * channels, 4 * in_channels), (channels, 16 * channels))]


def noise(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    return random.standard_normal((height, width))


def binary_noise(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    return random.integers(0, 2, (height, width)) * 1.0


def blobs(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    coarse = random.standard_normal((height // 5 + 1, width // 7 + 1))
    return np.kron(coarse, np.ones((5, 7)))[:height, :width] + 0.05 * noise(random, height, width)


def constant(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    return np.full((height, width), random.choice([0.0, -0.7, 3.0]))


def checkerboard(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = np.indices((height, width))
    return (y // random.integers(1, 4) + x) % 2 * 1.0


def ramp(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = np.indices((height, width))
    return (random.integers(-2, 3) * y + random.integers(-2, 3) * x) / 16


def lines(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Lines of one pixel's width, far apart or side by side."""
    image = np.zeros((height, width))
    image[random.integers(0, 2)::random.integers(2, 6)] = 1.0
    image[:, random.integers(0, 2)::random.integers(2, 9)] = -0.5
    return image


def huge(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    return 1e30 * blobs(random, height, width)


def tiny(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Subnormal numbers."""
    return 1e-39 * blobs(random, height, width)


PATTERNS = (noise, binary_noise, blobs, constant, checkerboard, ramp, lines)
EXTREME = (huge, tiny)
Pattern = Callable[[np.random.Generator, int, int], np.ndarray]


def draw_image(random: np.random.Generator, pattern: Pattern, channels: int, height: int, width: int) -> np.ndarray:
    """``[channels, height, width]``: each channel shows the pattern at a strength of its own, or a pattern of its own."""
    if random.random() < 0.5:
        return random.standard_normal((channels, 1, 1)) * pattern(random, height, width)
    return random.choice([0.1, 1.0, 4.0]) * np.stack([pattern(random, height, width) for _ in range(channels)])


def draw_batch(seed: int, patterns: tuple[Pattern, ...], channels: int, height: int, width: int) -> Tensor:
    """One image of each pattern."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([draw_image(random, pattern, channels, height, width) for pattern in patterns])).float()


def draw_self_edge(seed: int, channels: int) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(seed)
    slope = random.standard_normal(channels) * random.choice([1e-4, 1.0])
    return torch.from_numpy(slope).float(), torch.tensor(random.choice([-6.28, -1.0, 1.0])).float()


@pytest.mark.parametrize('compactness', COMPACTNESS)
@pytest.mark.parametrize('criterion', CRITERIA)
@pytest.mark.parametrize('kernel', KERNELS)
def test_hierarchy_with_every_option(device: str, kernel: str, criterion: str, compactness: float):
    seed = 100 * KERNELS.index(kernel) + 10 * CRITERIA.index(criterion) + COMPACTNESS.index(compactness)
    random = np.random.default_rng(seed)
    channels, (height, width) = int(random.choice([1, 3, 8])), (int(side) for side in random.integers(2, 30, 2))
    features = draw_batch(seed, PATTERNS, channels, height, width)
    options = dict(iota=float(random.choice([5.0, 0.1])), min_regions=int(random.choice([1, 6])))
    options |= dict(kernel=kernel, criterion=criterion, compactness=compactness)
    check_hierarchy(device, features, *draw_self_edge(seed, channels), **options)


@pytest.mark.parametrize('seed', range(24))
def test_hierarchy_of_random_sizes(device: str, seed: int):
    random = np.random.default_rng(seed)
    patterns = tuple(random.choice(PATTERNS, random.integers(1, 5)))
    channels, (height, width) = int(random.choice([1, 2, 8, 11])), (int(side) for side in random.integers(1, 97, 2))
    features = draw_batch(seed, patterns, channels, height, width)
    check_hierarchy(device, features, *draw_self_edge(seed, channels), kernel=str(random.choice(KERNELS)),
                    criterion=str(random.choice(CRITERIA)), compactness=float(random.choice(COMPACTNESS)),
                    iota=float(random.choice([5.0, 0.1])), min_regions=int(random.choice([1, 2, 6, 40])))


SIZES = ((1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (1, 3), (1, 7), (7, 1), (1, 300), (300, 1), (2, 129), (5, 64), (33, 31))


@pytest.mark.parametrize('size', SIZES, ids='{0[0]}x{0[1]}'.format)
@pytest.mark.parametrize('pattern', PATTERNS, ids=lambda pattern: pattern.__name__)
def test_hierarchy_of_narrow_images(device: str, pattern: Pattern, size: tuple[int, int]):
    features = draw_batch(0, (pattern, pattern), 8, *size)
    for kernel, compactness in (('gaussian', 0.1), ('gaussian', 0.0), ('cosine', 0.0), ('tanimoto', 0.01)):
        check_hierarchy(device, features, *draw_self_edge(1, 8), kernel=kernel, compactness=compactness, min_regions=1)


@pytest.mark.parametrize('pattern', EXTREME, ids=lambda pattern: pattern.__name__)
@pytest.mark.parametrize('kernel', KERNELS)
def test_hierarchy_of_extreme_features(device: str, kernel: str, pattern: Pattern):
    features = draw_batch(0, (pattern, blobs, pattern), 3, 19, 23)
    for compactness in COMPACTNESS:
        check_hierarchy(device, features, *draw_self_edge(2, 3), kernel=kernel, compactness=compactness)


@pytest.mark.parametrize('seed', range(16))
def test_projection_of_random_sizes(device: str, seed: int):
    random = np.random.default_rng(seed)
    in_channels, channels = int(random.choice([1, 3, 6])), int(random.choice([1, 5, 8]))
    layers = draw_layers(torch.Generator().manual_seed(seed), in_channels, channels)
    patterns = tuple(random.choice(PATTERNS, random.integers(1, 4)))
    image = draw_batch(seed, patterns, in_channels, *(int(side) for side in random.integers(1, 68, 2)))
    check_projection(device, image, layers)


@pytest.mark.parametrize('size', SIZES, ids='{0[0]}x{0[1]}'.format)
def test_projection_of_narrow_images(device: str, size: tuple[int, int]):
    image = draw_batch(0, (*PATTERNS, *EXTREME), 3, *size)
    check_projection(device, image, draw_layers(torch.Generator().manual_seed(0), 3, 8))


def published_layers(state: dict[str, Tensor]) -> list[Layer]:
    """The projection of the checkpoint published with the paper."""
    norm = ('weight', 'bias', 'running_mean', 'running_var')
    return [(state[f'{conv}.weight'].flatten(1), state[f'{conv}.bias'], *(state[f'{batch_norm}.{name}'] for name in norm))
            for conv, batch_norm in LAYERS]


GOLDEN = (
    'bench_96x160_aicc_cmp0.01', 'cityhydrant_128x128_aicc_cmp0.1', 'cityhydrant_224x224_aicc_cmp0.01',
    'cowbike_128x128_aic_cmp0.0', 'cowbike_224x224_aicc_cmp0.01', 'microwave_512x512_aicc_cmp0.01',
    'oldkitchen_128x128_bic_cmp0.01', 'oldkitchen_224x224_aicc_cmp0.01', 'toys_128x128_cic_cmp0.01', 'toys_224x224_aicc_cmp0.01')


@pytest.mark.parametrize('name', GOLDEN)
def test_photos_with_the_published_weights(device: str, shared: Path, name: str):
    with np.load(shared / f'golden/tokenizer_{name}.npz') as file:
        image, config = file['image'], json.loads(str(file['config']))
    image = torch.from_numpy((image / 255 - MEAN) / STD).movedim(2, 0)[None].float()
    state = torch.load(shared / 'weights/r2v.pth', map_location='cpu', weights_only=True)
    features = check_projection(device, image, published_layers(state))
    check_hierarchy(device, features, state['varproj.weight'][0], state['varproj.bias'][0], criterion=config['criterion'],
                    compactness=config['compactness'], iota=config['iota'])


def test_repetition_and_threads_change_no_bit(device: str):
    """Twenty runs, with one, two and three threads in turn."""
    image = draw_batch(0, (blobs, noise, checkerboard, blobs), 3, 61, 83).to(device)
    layers = draw_layers(torch.Generator().manual_seed(0), 3, 8)
    slope, bias = (tensor.to(device) for tensor in draw_self_edge(0, 8))
    seen = set()
    for run in range(20):
        with use_backend('ext'), threads(1 + run % 3):
            features = features_of(image, layers)
            seen.add(tuple(map(bits, (features, *build_hierarchy(features, slope, bias)))))
    assert len(seen) == 1


def test_layout_of_the_input_changes_no_bit(device: str):
    image, features = draw_batch(0, (blobs, noise), 3, 18, 26), draw_batch(1, (blobs, noise), 8, 18, 26)
    layers = draw_layers(torch.Generator().manual_seed(0), 3, 8)
    for change in (lambda x: x.to(memory_format=torch.channels_last), lambda x: x.mT.contiguous().mT,
                   lambda x: torch.stack([x, x + 1], -1)[..., 0], lambda x: torch.cat([x, x])[len(x):]):
        check_projection(device, change(image), layers)
        check_hierarchy(device, change(features), *draw_self_edge(0, 8))
