"""Superpixel quality of a tokenizer over a folder of images, with segmentations or without.

    python tools/analysis_tools/eval_partition.py DATA --split val --tokenizer tokenizer.pth --options compactness=0.01 --token-budget 400
    python tools/analysis_tools/eval_partition.py DATA --split val --tokenizer SLICTokenizer --options num_regions=400
    python tools/analysis_tools/eval_partition.py DATA --split val --tokenizer config.py --checkpoint model.pth

DATA holds images/SPLIT and, for scores of segmentations, groundTruth/SPLIT/NAME.npz (BSDS500: `segmentations` [annotators, H, W]) or
annotations/SPLIT/NAME.png (classes; 255 is open). It prints the means over images of the scores that docs/metrics.md defines and, where
annotations hold classes, the mIoU of each region's majority class. In --out-dir it writes scores.csv, one line an image, and, where
matplotlib is installed, scores.png, each score over the number of regions. Files that cannot be read are named and skipped; the exit
code is then 1.
"""

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.utils import track_iter_progress
from torch import Tensor, nn

from dht_mm.metrics import majority_confusion, mean_iou, mean_scores, partition_scores
from dht_mm.registry import MODELS
from dht_mm.tokenizer.checkpoint import load_tokenizer
from dht_mm.tokenizer.shipped import SCHEME
from dht_mm.visualization import atomic_file, read_image

sys.path.append(str(Path(__file__).resolve().parents[1]))
from annotated_images import VOID, AnnotatedImage, find_images  # noqa: E402
from tokenize_image import tokenize  # noqa: E402

Scores = dict[str, float]


def parse_args(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """The options, and the parser for later complaints about them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument('--tolerance', type=int, default=1, help='of borders, in pixels (default: %(default)s)')
    parser.add_argument('--out-dir', type=Path, help='folder for scores.csv and scores.png; made if it is not there')
    args = parser.parse_args(argv)
    check_positive(parser, args)
    if args.tolerance < 0:
        parser.error(f'--tolerance must be at least 0, got {args.tolerance}')
    return args, parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that name a tokenizer and images."""
    parser.add_argument('data', type=Path, metavar='DATA')
    parser.add_argument('--split', default='val', help='folder below images/ (default: %(default)s)')
    parser.add_argument('--tokenizer', required=True, metavar='CFG|CHECKPOINT|TYPE',
                        help='a config with a tokenizer in it, weights of a DHTTokenizer, or the name of a registered tokenizer')
    parser.add_argument('--options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE', help='arguments of the tokenizer')
    parser.add_argument('--checkpoint', metavar='FILE', help='weights of a tokenizer, alone or inside a model')
    parser.add_argument('--token-budget', type=int, metavar='T', help='the most regions, of a DHTTokenizer')
    parser.add_argument('--images', type=int, metavar='N', help='take at most N images, evenly from all')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')


def check_positive(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Complain about numbers of images and regions below 1."""
    for option in ('images', 'token_budget'):
        value = getattr(args, option)
        if value is not None and value < 1:
            parser.error(f'--{option.replace("_", "-")} must be at least 1, got {value}')


def build_tokenizer(args: argparse.Namespace) -> nn.Module:
    """The tokenizer that the options ask for, with its weights, in evaluation mode."""
    name, checkpoint = args.tokenizer, args.checkpoint
    if name.endswith('.py'):
        config = Config(find_tokenizer(Config.fromfile(name).to_dict(), name))
    elif name.endswith('.pth') or name.startswith(SCHEME):
        config, checkpoint = Config(dict(type='dht_mm.DHTTokenizer')), name
    else:
        config = Config(dict(type=f'dht_mm.{name.removeprefix("dht_mm.")}'))
    if args.token_budget is not None:
        config.token_budget = dict(mode='hard', test=args.token_budget)
    config.merge_from_dict(args.options)
    tokenizer = MODELS.build(config.to_dict())
    if checkpoint is not None:
        load_tokenizer(tokenizer, checkpoint)
    elif hasattr(tokenizer, 'init_weights'):
        tokenizer.init_weights()  # reads what init_cfg names
    return tokenizer.to(args.device).eval()


def find_tokenizer(config: dict, name: str) -> dict:
    """The config of the tokenizer inside that of a model."""
    model = config.get('model', config)
    for holder in (model, model.get('backbone', {})):
        if 'tokenizer' in holder:
            return holder['tokenizer']
    raise ValueError(f'--tokenizer must be a config with a tokenizer in the model or its backbone, but {name} has none')


def score(tokenizer: nn.Module, sample: AnnotatedImage, args: argparse.Namespace) -> tuple[Scores, Tensor | None]:
    """The scores of one image, and the confusion matrix of its majority classes where it has classes."""
    image, truths = read_image(sample.image), sample.read_truths()
    start = time.perf_counter()
    labels = tokenize(tokenizer, image, args.device).labels[0]
    seconds = time.perf_counter() - start
    scores = partition_scores(labels, image, truths, args.tolerance, sample.ignore_index)
    confusion = majority_confusion(labels, truths[0], VOID, VOID) if sample.has_classes else None
    return scores | dict(seconds=seconds), confusion


def score_all(tokenizer: nn.Module, samples: Sequence[AnnotatedImage], args: argparse.Namespace) -> tuple[dict[str, Scores], list[Tensor]]:
    """Scores by image file, and the confusion matrices that there are; files that cannot be read are named and left out."""
    scores, confusions = {}, []
    for sample in track_iter_progress(list(samples), file=sys.stderr):
        try:
            scores[sample.image.name], confusion = score(tokenizer, sample, args)
        except (TypeError, ValueError) as error:
            print(f'\n{sample.image}: skipped, {error}', file=sys.stderr)
            continue
        confusions += [] if confusion is None else [confusion]
    return scores, confusions


def write_csv(path: Path, rows: Sequence[dict]) -> None:
    """One line a row; what a row does not have is empty."""
    names = dict.fromkeys(name for row in rows for name in row)
    text = StringIO(newline='')
    writer = csv.DictWriter(text, names, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())


def plot(path: Path, scores: dict[str, Scores]) -> None:
    """Each score of all images over their number of regions."""
    from matplotlib.figure import Figure  # without pyplot: no window system is asked for

    names = [name for name in dict.fromkeys(name for row in scores.values() for name in row) if name != 'regions']
    figure = Figure(figsize=(12, 3 * -(-len(names) // 4)), layout='constrained')
    for axes, name in zip(figure.subplots(-(-len(names) // 4), 4, squeeze=False).flat, names, strict=False):
        rows = [row for row in scores.values() if name in row]
        axes.scatter([row['regions'] for row in rows], [row[name] for row in rows], s=8)
        axes.set(xlabel='regions', title=name.replace('_', ' '))
    with atomic_file(path) as file:
        figure.savefig(file, format='png', dpi=100)


def print_summary(scores: dict[str, Scores], confusions: Sequence[Tensor]) -> None:
    """A table of the means over images."""
    means = mean_scores(list(scores.values()))
    if confusions:
        means['majority_miou'] = mean_iou(torch.stack(list(confusions)).sum(0))
    print(f'{len(scores)} images\n\n| score | mean |\n|---|---|')
    for name, value in means.items():
        print(f'| {name.replace("_", " ")} | {value:.{1 if name == "regions" else 4}f} |')


def main(argv: Sequence[str] | None = None) -> int:
    """Score every image; the exit code says whether all could be read."""
    args, parser = parse_args(argv)
    try:
        samples = find_images(args.data, args.split, args.images)
        tokenizer = build_tokenizer(args)
        if args.out_dir is not None:
            args.out_dir.mkdir(parents=True, exist_ok=True)
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        parser.error(str(error))
    scores, confusions = score_all(tokenizer, samples, args)
    print(file=sys.stderr)
    if scores:
        print_summary(scores, confusions)
    if scores and args.out_dir is not None:
        write_csv(args.out_dir / 'scores.csv', [dict(image=image) | row for image, row in scores.items()])
        if find_spec('matplotlib') is not None:
            plot(args.out_dir / 'scores.png', scores)
    return 0 if len(scores) == len(samples) else 1


if __name__ == '__main__':
    sys.exit(main())
