"""The tokenizer beside classic superpixels, at the same number of regions in every image.

    python tools/model_converters/dht_reference_to_mm.py r2v.pth published.pth
    python benchmarks/superpixels/compare.py --data DATA/bsds500 --published published.pth --scores scores.jsonl --plot compare.png

The tokenizer is the one that comes with the package; --published adds that of another file, here the paper's. With --scores each
image's scores are kept, and a later call with the same file goes on from there.

DATA/bsds500 is laid out as tools/analysis_tools/eval_partition.py says. A method that does not take the number of regions K is run with
the parameter, found by bisection in each image, that leaves nearest to K; the table has the mean number that is left. Labels are counted
as a method returns them: those of dHT, grid, quadtree and SLIC are 4-connected regions, those of Felzenszwalb 8-connected, and those of
SEEDS and LSC need not be connected. SLIC and Felzenszwalb are scikit-image's; SLIC, SEEDS and LSC of OpenCV are there where its
contributed modules are installed (opencv-contrib-python). Scores are defined in docs/metrics.md.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from skimage.segmentation import felzenszwalb, slic

from dht_mm.metrics import mean_scores, num_regions, partition_scores
from dht_mm.tokenizer import DHTTokenizer, GridTokenizer, QuadtreeTokenizer, TokenBudget
from dht_mm.tokenizer.checkpoint import load_tokenizer
from dht_mm.tokenizer.shipped import resolve, shipped_tokenizer
from dht_mm.visualization import read_image

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / 'tools' / folder) for folder in ('', 'analysis_tools')]
from annotated_images import AnnotatedImage, find_images  # noqa: E402
from tokenize_image import normalize  # noqa: E402

try:
    import cv2
    ximgproc = cv2.ximgproc
except (ImportError, AttributeError):  # AttributeError: OpenCV without its contributed modules
    ximgproc = None

COLUMNS = dict(boundary_recall='recall', boundary_precision='precision', undersegmentation_error='UE', achievable_accuracy='ASA',
               explained_variation='EV', compactness='compactness', psnr='PSNR')
STEPS = 12  # of bisection
# The number of regions is set by their least size: with the default size and the scale to set it, a few regions swallow the image
# (K = 400, 20 validation images: achievable accuracy .905 against .951). The best of 10, 30 and 100 on six training images.
FELZENSZWALB_SCALE = 30
Segment = Callable[[int], np.ndarray]  # a parameter to [H, W] labels


class Method(NamedTuple):
    """A way to cut up images.

    Attributes:
        prepare: ``[H, W, 3]`` uint8 to what cuts this image up with a parameter.
        bounds: Parameters that leave fewest and most regions, for K from 100 to 2000; None if the parameter is K itself.
        weights: What tells its weights from others.
    """

    prepare: Callable[[np.ndarray], Segment]
    bounds: tuple[int, int] | None = None
    weights: str = ''


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument('--scores', type=Path, metavar='FILE', help='lines of JSON, one for each score of an image, to go on from')
    parser.add_argument('--plot', type=Path, help='picture of the scores over K; needs matplotlib')
    return parser.parse_args()


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that name images, methods and numbers of regions."""
    parser.add_argument('--data', type=Path, required=True, help='folder of images/SPLIT and groundTruth/SPLIT')
    parser.add_argument('--split', default='val', help='default: %(default)s')
    parser.add_argument('--checkpoint', metavar='FILE', help='weights of a DHTTokenizer (default: those that come with the package)')
    parser.add_argument('--published', metavar='FILE', help='weights of a second one')
    parser.add_argument('--compactness', type=float, default=0.01, help='that of the weights (default: %(default)s)')
    parser.add_argument('--regions', type=int, nargs='+', default=[200, 400, 600, 1000], metavar='K')
    parser.add_argument('--images', type=int, default=24, help='at most so many, evenly from all (default: %(default)s)')
    parser.add_argument('--methods', nargs='+', metavar='NAME', help='some of the methods; all by default')


def dht(tokenizer: DHTTokenizer, mode: str) -> Callable[[np.ndarray], Segment]:
    """The tokenizer under a budget."""
    def prepare(image: np.ndarray) -> Segment:
        images = normalize(image, 'cpu')

        def segment(target: int) -> np.ndarray:
            tokenizer.token_budget = TokenBudget(mode, test=target)
            return tokenizer(images).labels[0].numpy()
        return segment
    return prepare


def tokenized(make: Callable[[int], torch.nn.Module]) -> Callable[[np.ndarray], Segment]:
    """A tokenizer without weights, made anew for each parameter."""
    return lambda image: lambda parameter: make(parameter)(normalize(image, 'cpu')).labels[0].numpy()


def opencv(segment: Callable[[np.ndarray, int], np.ndarray]) -> Callable[[np.ndarray], Segment]:
    """A method of OpenCV on the slightly blurred image in CIELAB, which its documentation recommends."""
    def prepare(image: np.ndarray) -> Segment:
        lab = cv2.cvtColor(cv2.GaussianBlur(image, (3, 3), 0), cv2.COLOR_RGB2LAB)
        return lambda parameter: segment(lab, parameter)
    return prepare


def iterated(superpixels: object) -> np.ndarray:
    superpixels.iterate(10)
    superpixels.enforceLabelConnectivity()
    return superpixels.getLabels()


def seeds(image: np.ndarray, parameter: int) -> np.ndarray:
    levels = 4 if parameter < 500 else 3  # the smallest superpixels of four levels have 16 x 16 pixels
    superpixels = ximgproc.createSuperpixelSEEDS(image.shape[1], image.shape[0], 3, parameter, levels)
    superpixels.iterate(image, 10)
    return superpixels.getLabels()


def budgets(name: str, checkpoint: str, compactness: float) -> dict[str, Method]:
    """All budgets of the tokenizer with these weights."""
    tokenizer = DHTTokenizer(compactness=compactness).eval()
    load_tokenizer(tokenizer, checkpoint)
    weights = f'{hashlib.sha256(resolve(checkpoint).read_bytes()).hexdigest()[:8]} at {compactness}'
    return {f'{name}, exact budget': Method(dht(tokenizer, 'exact'), None, weights),
            f'{name}, hard budget': Method(dht(tokenizer, 'hard'), None, weights),
            f'{name}, soft budget': Method(dht(tokenizer, 'soft'), (1, 4000), weights)}


def build_methods(args: argparse.Namespace) -> dict[str, Method]:
    """The methods asked for, or all for which the packages are installed, at default parameters but for the number of regions."""
    methods = budgets('dHT', args.checkpoint or shipped_tokenizer(args.compactness), args.compactness)
    if args.published is not None:
        methods |= budgets('published', args.published, args.compactness)
    methods |= {
        'grid': Method(tokenized(GridTokenizer), (60, 4)),
        'quadtree': Method(tokenized(QuadtreeTokenizer)),
        'SLIC, scikit-image': Method(lambda image: lambda number: slic(image, number, start_label=0), (20, 8000)),
        'Felzenszwalb': Method(lambda image: lambda pixels: felzenszwalb(image, FELZENSZWALB_SCALE, 0.8, pixels), (3000, 3)),
    }
    if ximgproc is not None:
        methods |= {
            'SLIC, OpenCV': Method(opencv(lambda lab, side: iterated(ximgproc.createSuperpixelSLIC(lab, 100, side))), (60, 4)),
            'LSC, OpenCV': Method(opencv(lambda lab, side: iterated(ximgproc.createSuperpixelLSC(lab, side))), (60, 4)),
            'SEEDS, OpenCV': Method(opencv(seeds), (20, 8000)),
        }
    if unknown := sorted(set(args.methods or methods) - methods.keys()):
        raise SystemExit(f'--methods must be some of {sorted(methods)}, got {unknown}')
    return {name: methods[name] for name in args.methods or methods}


def matched(segment: Segment, method: Method, target: int) -> np.ndarray:
    """The labels whose number of regions is nearest to the target."""
    if method.bounds is None:
        return segment(target)
    (few, many), best = method.bounds, None
    for _ in range(STEPS):
        middle = (few * many) ** 0.5
        labels = segment(round(middle))
        regions = num_regions(labels)
        if best is None or abs(regions - target) < abs(num_regions(best) - target):
            best = labels
        few, many = (middle, many) if regions < target else (few, middle)
        if abs(regions - target) <= target // 50 or max(few, many) < 1.01 * min(few, many):
            break
    return best


class Scores(dict):
    """Scores by method, weights, image and number of regions asked for, kept in a file if there is one."""

    def __init__(self, path: Path | None):
        super().__init__()
        self.path = path
        if path is not None and path.is_file():
            self.update((tuple(key), scores) for key, scores in map(json.loads, path.read_text().splitlines()))

    def add(self, key: tuple, scores: dict[str, float]) -> None:
        self[key] = scores
        if self.path is not None:
            with self.path.open('a') as file:
                file.write(json.dumps([key, scores]) + '\n')


@torch.inference_mode()
def evaluate(name: str, method: Method, samples: Iterable[AnnotatedImage], targets: Sequence[int], known: Scores) -> list[dict[str, float]]:
    """Means over images of the scores at each number of regions; images whose scores are known are not cut up again."""
    rows = [[] for _ in targets]
    for sample in samples:
        keys = [(name, method.weights, sample.image.name, target) for target in targets]
        if not all(key in known for key in keys):
            image, truths = read_image(sample.image), sample.read_truths()
            segment = cache(method.prepare(image))  # bisections share steps, and are of whole numbers
            for key in keys:
                known.add(key, partition_scores(matched(segment, method, key[-1]), image, truths))
        for row, key in zip(rows, keys, strict=True):
            row.append(known[key])
    return [mean_scores(row) for row in rows]


def plot(path: Path, results: dict[str, list[dict[str, float]]]) -> None:
    """Each score over the number of regions, a line a method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 7), layout='constrained')
    panels = figure.subplots(2, 4).flat
    for (name, title), axes in zip(COLUMNS.items(), panels, strict=False):
        for index, (method, rows) in enumerate(results.items()):
            style = dict(linewidth=1, color=f'C{index}', linestyle='-' if index < 10 else '--')
            if index == 0:
                style.update(linewidth=2.5, color='black')
            axes.plot([row['regions'] for row in rows], [row[name] for row in rows], marker='.', label=method, **style)
        axes.set(xlabel='regions', title=title)
    last = next(panels)
    last.axis('off')
    last.legend(*axes.get_legend_handles_labels(), loc='center')
    figure.savefig(path, dpi=80)


def print_table(results: dict[str, list[dict[str, float]]], targets: Sequence[int], images: int) -> None:
    """All methods at the least number of regions, then at the next."""
    print(f'{images} images\n\n| K | method | regions | {" | ".join(COLUMNS.values())} |\n|{"---|" * (3 + len(COLUMNS))}')
    for index, target in enumerate(targets):
        for method, rows in results.items():
            scores = ' | '.join(f'{rows[index][column]:.{1 if column == "psnr" else 3}f}' for column in COLUMNS)
            print(f'| {target} | {method} | {rows[index]["regions"]:.0f} | {scores} |')


def main() -> None:
    args = parse_args()
    methods = build_methods(args)
    samples, known = find_images(args.data, args.split, args.images), Scores(args.scores)
    results = {}
    for name, method in methods.items():
        print(name, file=sys.stderr)
        results[name] = evaluate(name, method, samples, sorted(args.regions), known)
    print_table(results, sorted(args.regions), len(samples))
    if args.plot:
        plot(args.plot, results)


if __name__ == '__main__':
    main()
