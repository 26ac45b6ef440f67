"""What a token budget costs: the best segmentation that the regions allow, and how well they follow human borders, for several budgets.

    python benchmarks/superpixels/budget_ceiling.py --data DATA

DATA holds `camvid/` or `bsds500/` or both, laid out as images/SPLIT and annotations/SPLIT (label maps) or groundTruth/SPLIT (.npz with
`segmentations` [annotators, H, W]). Of a split of n images every ceil(n / 24)-th is taken, in the order of their names.

The scores are those of `dht_mm.metrics`, which docs/metrics.md defines. CamVid: mIoU when each region takes the class that most of its
labelled pixels have, over the pixels of all images. BSDS500: means over images and annotators. Beside them how uneven the regions are: the
standard deviation of their sizes over the mean, averaged over images.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dht_mm.metrics import achievable_accuracy, boundary_recall, explained_variation, majority_confusion, mean_iou, undersegmentation_error
from dht_mm.tokenizer import DHTTokenizer, TokenBudget
from dht_mm.tokenizer.checkpoint import load_tokenizer
from dht_mm.tokenizer.shipped import shipped_tokenizer

sys.path.append(str(Path(__file__).resolve().parents[2] / 'tools/analysis_tools'))
from annotated_images import find_images  # noqa: E402

IMAGENET_MEAN, IMAGENET_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CAMVID_CLASSES = 11


@dataclass
class Sample:
    """One image and its annotations."""

    pixels: np.ndarray  # [H, W, 3] uint8
    truths: Sequence[np.ndarray]  # each [H, W]
    image: Tensor  # [1, 3, H, W], normalised


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='folder of camvid/ and bsds500/')
    parser.add_argument('--checkpoint', metavar='FILE', help='weights of a DHTTokenizer (default: those that come with the package)')
    parser.add_argument('--compactness', type=float, default=0.01, help='that of the weights (default: %(default)s)')
    parser.add_argument('--budgets', type=int, nargs='+', default=[150, 200, 300, 400, 600], metavar='T')
    parser.add_argument('--spread', type=float, metavar='S', help='of the hard and the exact budget (default: none)')
    parser.add_argument('--images', type=int, default=24, help='at most so many of each split (default: %(default)s)')
    parser.add_argument('--train', action='store_true', help='the training splits, to tune on, in place of CamVid test and BSDS500 val')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args()


def build_tokenizer(args: argparse.Namespace) -> DHTTokenizer:
    tokenizer = DHTTokenizer(compactness=args.compactness)
    load_tokenizer(tokenizer, args.checkpoint or shipped_tokenizer(args.compactness))
    return tokenizer.to(args.device).eval()


def load(name: str, split: str, args: argparse.Namespace) -> list[Sample]:
    """Every ceil(n / images)-th image of a split."""
    samples = []
    for annotated in find_images(args.data / name, split, args.images):
        pixels = np.array(Image.open(annotated.image).convert('RGB'))
        normalised = ((pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1)
        image = torch.from_numpy(normalised).float()[None].to(args.device)
        samples.append(Sample(pixels, annotated.read_truths(), image))
    return samples


@torch.inference_mode()
def labels_under(tokenizer: DHTTokenizer, sample: Sample, budget: TokenBudget | None) -> Tensor:
    """``[H, W]`` labels under a budget."""
    tokenizer.token_budget = budget
    return tokenizer(sample.image).labels[0]


def camvid_scores(samples: Iterable[Sample], labels: Iterable[Tensor]) -> list[float]:
    """mIoU of the majority classes, in per cent."""
    confusion = sum(majority_confusion(regions, sample.truths[0], CAMVID_CLASSES) for sample, regions in zip(samples, labels, strict=True))
    return [100 * mean_iou(confusion)]


def bsds_scores(samples: Iterable[Sample], labels: Iterable[Tensor]) -> list[float]:
    """Boundary recall, undersegmentation error, achievable accuracy, explained variation."""
    scores = [[*(score(regions, sample.truths) for score in (boundary_recall, undersegmentation_error, achievable_accuracy)),
               explained_variation(regions, sample.pixels)] for sample, regions in zip(samples, labels, strict=True)]
    return np.mean(scores, 0).tolist()


def all_budgets(args: argparse.Namespace) -> list[TokenBudget | None]:
    """None, then every mode at every target."""
    return [None, *(TokenBudget(mode, test=target, spread=None if mode == 'soft' else args.spread)
                    for mode in ('soft', 'hard', 'exact') for target in sorted(args.budgets))]


def report(title: str, names: Sequence[str], tokenizer: DHTTokenizer, samples: list[Sample], scores: Callable, digits: int,
           budgets: Sequence[TokenBudget | None]) -> None:
    """One table: a row for each budget, with the mean number of regions that it leaves and how uneven they are."""
    print(f'\n{title}, {len(samples)} images\n\n| budget | T | regions | uneven | {" | ".join(names)} |\n|{"---|" * (4 + len(names))}')
    for budget in budgets:
        labels = [labels_under(tokenizer, sample, budget) for sample in samples]
        sizes = [image.flatten().bincount().double() for image in labels]
        regions, uneven = np.mean([(len(size), float(size.std(correction=0) / size.mean())) for size in sizes], 0)
        row = ' | '.join([f'{regions:.0f}', f'{uneven:.2f}', *(f'{score:.{digits}f}' for score in scores(samples, labels))])
        print(f'| {budget.mode if budget else "none"} | {budget.test if budget else ""} | {row} |', flush=True)


def main() -> None:
    args = parse_args()
    tokenizer = build_tokenizer(args)
    found = [name for name in ('camvid', 'bsds500') if (args.data / name).is_dir()]
    if not found:
        raise SystemExit(f'--data must hold camvid/ or bsds500/, but {args.data} has neither')
    if 'camvid' in found:
        split = 'train' if args.train else 'test'
        samples = load('camvid', split, args)
        report(f'CamVid {split}', ['mIoU'], tokenizer, samples, camvid_scores, 1, all_budgets(args))
    if 'bsds500' in found:
        split = 'train' if args.train else 'val'
        samples = load('bsds500', split, args)
        report(f'BSDS500 {split}', ['recall', 'UE', 'ASA', 'EV'], tokenizer, samples, bsds_scores, 4, all_budgets(args))


if __name__ == '__main__':
    main()
