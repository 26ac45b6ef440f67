"""The method on one tiny image, in plain loops over Python numbers: the vectorised operators must equal it label for label.

Written from the paper's definitions: regions are lists of pixels, edges a dictionary, components a flood fill. Where these leave
rounding open it follows the package: means and variances are kept in float32, and a weight is taken to 16 bits in float32.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

Vector = list[float]
Edges = dict[int, set[int]]

# What floors the square root of a weight, so that a component whose weights all vanish has a mean.
FLOOR = 2.0**-20


@dataclass
class Region:
    """A connected set of pixels ``(y, x)`` with its statistics."""

    pixels: list[tuple[int, int]]
    mean: Vector
    variance: Vector
    score: float = -math.inf

    @property
    def size(self) -> int:
        return len(self.pixels)

    @property
    def box(self) -> tuple[int, int, int, int]:
        ys, xs = zip(*self.pixels, strict=True)
        return min(ys), min(xs), max(ys), max(xs)


@dataclass
class Result:
    """Label map, boxes, sizes and means of the selected regions, and what happened at every level on the way."""

    labels: np.ndarray
    boxes: list[tuple[int, ...]]
    sizes: list[int]
    means: list[Vector]
    level_labels: list[np.ndarray] = field(default_factory=list)
    level_scores: list[list[float]] = field(default_factory=list)
    picks: list[list[int]] = field(default_factory=list)


def as_float32(x: float) -> float:
    return float(np.float32(x))


def dot(u: Vector, v: Vector) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True))


def clip(x: float) -> float:
    return min(max(x, 0.0), 1.0)


def similarity(kernel: str, u: Vector, v: Vector) -> float:
    """The kernel of two feature vectors; the normalised ones are 0 where both norms are."""
    if kernel == 'gaussian':
        return math.exp(-sum((a - b) ** 2 for a, b in zip(u, v, strict=True)))
    norm = math.sqrt(dot(u, u) * dot(v, v)) if kernel == 'cosine' else dot(u, u) + dot(v, v) - dot(u, v)
    return clip(dot(u, v) / norm) if norm > 0 else 0.0


def roundness(pixels: list[tuple[int, int]]) -> float:
    """``4 |S| / (2 + height + width)^2``, heights and widths being differences of coordinates."""
    ymin, xmin, ymax, xmax = Region(pixels, [], []).box
    return 4 * len(pixels) / (2 + (ymax - ymin) + (xmax - xmin)) ** 2


def sixteen_bits(weight: float) -> int:
    return math.floor(np.float32(65535) * np.float32(clip(weight)))


def label_map(groups: Iterable[list[tuple[int, int]]], height: int, width: int) -> np.ndarray:
    labels = np.full((height, width), -1)
    for label, pixels in enumerate(groups):
        for pixel in pixels:
            labels[pixel] = label
    return labels


def neighbours(labels: np.ndarray) -> Edges:
    """Labels that touch each label from above, below, left or right."""
    edges: Edges = {int(label): set() for label in np.unique(labels)}
    for y, x in np.ndindex(*labels.shape):
        for below, right in ((1, 0), (0, 1)):
            if y + below < labels.shape[0] and x + right < labels.shape[1]:
                u, v = int(labels[y, x]), int(labels[y + below, x + right])
                if u != v:
                    edges[u].add(v)
                    edges[v].add(u)
    return edges


def components(num: int, edges: Edges) -> list[list[int]]:
    """Groups of connected numbers, each sorted, in the order of their smallest."""
    seen: set[int] = set()
    groups = []
    for start in range(num):
        if start in seen:
            continue
        group, front = {start}, [start]
        while front:
            new = edges[front.pop()] - group
            group |= new
            front += new
        seen |= group
        groups.append(sorted(group))
    return groups


def picked_components(picks: list[int]) -> list[list[int]]:
    edges: Edges = {u: set() for u in range(len(picks))}
    for u, v in enumerate(picks):
        edges[u].add(v)
        edges[v].add(u)
    return components(len(picks), edges)


def unite(children: list[Region], alphas: list[float]) -> Region:
    """Weighted mean, and weighted mean of inner variance plus squared distance to it; an only child stays as it is."""
    pixels = sorted(pixel for child in children for pixel in child.pixels)
    if len(children) == 1:
        return Region(pixels, children[0].mean, children[0].variance)
    total = math.fsum(alphas)
    mean, variance = [], []
    for c in range(len(children[0].mean)):
        center = math.fsum(a * child.mean[c] for a, child in zip(alphas, children, strict=True)) / total
        spread = math.fsum(a * (child.variance[c] + (child.mean[c] - center) ** 2)
                           for a, child in zip(alphas, children, strict=True)) / total
        mean.append(as_float32(center))
        variance.append(as_float32(spread))
    return Region(pixels, mean, variance)


def information_score(region: Region, num_pixels: int, criterion: str, iota: float) -> float:
    m = region.size + 1e-8
    k = 1 / (2 * m - 2 * math.sqrt(m))
    penalties = dict(aic=2 * k, aicc=2 * k + 2 * (k * k + k) / (m - k - 1), bic=k * math.log(m), cic=k * (math.log(m) + 1))
    determinant = math.prod(2 * math.pi * s for s in region.variance)
    return -(region.size / num_pixels * math.log(determinant + iota) + penalties[criterion])


def raster_order(pixel: tuple[int, int]) -> tuple[int, int]:
    return pixel


def mirrored_order(pixel: tuple[int, int]) -> tuple[int, int]:
    return pixel[0], -pixel[1]


def pick_edges(num: int, edges: Edges, pair: Callable[[int, int], float], own: Callable[[int], float] | None,
               rank: Callable[[int], tuple[int, int]]) -> list[int]:
    """Each region's best edge by (16-bit weight, rank); without any edge it is the region itself."""
    picks = []
    for u in range(num):
        candidates = [(sixteen_bits(pair(u, v)), v) for v in edges[u]]
        if own is not None:
            candidates.append((sixteen_bits(own(u)), u))
        picks.append(max(candidates, default=(0, u), key=lambda candidate: (candidate[0], rank(candidate[1])))[1])
    return picks


def hierarchy(features: np.ndarray, slope: Vector, bias: float, *, kernel: str, compactness: float, criterion: str, iota: float,
              min_regions: int, order: Callable[[tuple[int, int]], tuple[int, int]] = raster_order) -> Result:
    """Sections 3.1 to 3.3 of the paper on one image: features ``[d, H, W]`` to the selected partition.

    Of neighbours with equal weights a region takes the one whose first pixel is last, in the order of pixels given by ``order``.
    """
    height, width = features.shape[1:]
    num_pixels = height * width
    regions = [Region([pixel], [float(f[pixel]) for f in features], [0.0] * len(features)) for pixel in np.ndindex(height, width)]
    best = {region.pixels[0]: (-math.sqrt(num_pixels), (0, label), region) for label, region in enumerate(regions)}
    result = Result(np.empty(0), [], [], [])

    def select(candidates: list[Region], level: int) -> bool:
        improved = False
        for label, region in enumerate(candidates):
            region.score = information_score(region, num_pixels, criterion, iota)
            for pixel in region.pixels:
                if region.score >= best[pixel][0]:
                    best[pixel] = (region.score, (level, label), region)
                    improved = True
        return improved

    for level in range(1, math.ceil(math.log2(math.sqrt(num_pixels))) + 1):
        if len(regions) <= min_regions:
            break

        def pair(u: int, v: int, regions: list[Region] = regions) -> float:
            united = roundness(regions[u].pixels + regions[v].pixels)
            return (1 - compactness) * similarity(kernel, regions[u].mean, regions[v].mean) + compactness * united

        def own(u: int, regions: list[Region] = regions) -> float:
            sigmoid = 1 / (1 + math.exp(-(dot(slope, regions[u].variance) + bias)))
            return (1 - compactness) * sigmoid + compactness * roundness(regions[u].pixels)

        def rank(u: int, regions: list[Region] = regions) -> tuple[int, int]:
            return min(map(order, regions[u].pixels))

        edges = neighbours(label_map((region.pixels for region in regions), height, width))
        picks = pick_edges(len(regions), edges, pair, own if level > 1 else None, rank)
        weights = [pair(u, v) if u != v else own(u) for u, v in enumerate(picks)]
        alphas = [region.size * max(math.sqrt(weight), FLOOR) for region, weight in zip(regions, weights, strict=True)]
        groups = picked_components(picks)
        regions = [unite([regions[u] for u in group], [alphas[u] for u in group]) for group in groups]
        result.picks.append(picks)
        improved = select(regions, level)
        result.level_labels.append(label_map((region.pixels for region in regions), height, width))
        result.level_scores.append([region.score for region in regions])
        if not improved:
            break
    select([unite(regions, [float(region.size) for region in regions])], -1)
    return _finish(result, best, height, width)


def _finish(result: Result, best: dict, height: int, width: int) -> Result:
    """Cut the selection into 4-connected pieces, numbered by their first pixels."""
    pixels = list(np.ndindex(height, width))
    edges: Edges = {i: set() for i in range(len(pixels))}
    for u, around in neighbours(np.arange(len(pixels)).reshape(height, width)).items():
        edges[u] = {v for v in around if best[pixels[u]][1] == best[pixels[v]][1]}
    pieces = [[pixels[i] for i in group] for group in components(len(pixels), edges)]
    result.labels = label_map(pieces, height, width)
    result.boxes = [Region(piece, [], []).box for piece in pieces]
    result.sizes = [len(piece) for piece in pieces]
    result.means = [best[piece[0]][2].mean for piece in pieces]
    return result


def soft_merge(labels: np.ndarray, colors: list[Vector], target: int, kernel: str = 'gaussian') -> list[int]:
    """Section 3.4 in evaluation, on one image: the new label of each region. Keeps the ``target`` smallest."""
    sizes = [int((labels == label).sum()) for label in range(len(colors))]
    kept = set(sorted(range(len(sizes)), key=lambda label: (sizes[label], label))[:target])
    if len(sizes) <= target:
        return list(range(len(sizes)))
    picks = []
    for u, around in sorted(neighbours(labels).items()):
        candidates = [(65535 if u in kept else 0, u)]
        for v in around:
            dropped = u not in kept or v not in kept
            candidates.append((sixteen_bits(similarity(kernel, colors[u], colors[v])) if dropped else 0, v))
        picks.append(max(candidates)[1])
    new = {u: label for label, group in enumerate(picked_components(picks)) for u in group}
    return [new[u] for u in range(len(sizes))]


def code_length(values: np.ndarray) -> float:
    """``m log det(covariance + noise)`` of the pixels ``[m, C]`` of a region; noise is 0.01 everywhere and 0.005 more on the diagonal."""
    noise = 0.01 + 0.005 * np.eye(values.shape[1])
    return len(values) * np.linalg.slogdet(np.cov(values.T, bias=True).reshape(noise.shape) + noise)[1]


def hard_merge(labels: np.ndarray, image: np.ndarray, target: int) -> list[int]:
    """Rounds of mutually cheapest merges until ``target`` regions are left, on one image ``[C, H, W]``: new label of each region."""
    into = list(range(labels.max() + 1))
    while (excess := len(set(into)) - target) > 0:
        merged = np.array(into)[labels]
        cost: dict[int, list] = {}
        around, borders = neighbours(merged), border_lengths(merged)
        for u in around:
            for v in around[u]:
                alone = sum(code_length(image[:, merged == label].T) for label in (u, v))
                gain = max(0.0, code_length(image[:, (merged == u) | (merged == v)].T) - alone)
                total = min(sum(length for pair, length in borders.items() if label in pair) for label in (u, v))
                cost.setdefault(u, []).append((np.float32(gain / (0.5 + borders[frozenset((u, v))] / total)), u ^ v, v))
        best = {u: min(edges) for u, edges in cost.items()}
        pairs = sorted((edge[0], u, edge[2]) for u, edge in best.items() if best[edge[2]][2] == u and u < edge[2])
        for _, u, v in pairs[:math.ceil(min(len(pairs), excess) / 4)]:
            into = [u if label == v else label for label in into]
    return [sorted(set(into)).index(label) for label in into]


def border_lengths(labels: np.ndarray) -> dict[frozenset, int]:
    """Pixel sides between every two regions."""
    lengths: dict[frozenset, int] = {}
    for here, there in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
        for u, v in zip(here.ravel().tolist(), there.ravel().tolist(), strict=True):
            if u != v:
                lengths[frozenset((u, v))] = lengths.get(frozenset((u, v)), 0) + 1
    return lengths
