"""Tokenize images and write what the tokenizer sees: borders over the image, regions in their mean colour, and the label map.

    python tools/tokenize_image.py photo.jpg other.png --out-dir regions

For each image NAME it writes NAME_overlay.png, NAME_mean_color.png and NAME_labels.npz with the int32 arrays labels [H, W]
(regions numbered from 0 in raster order of their first pixels), bbox [R, 4] (ymin, xmin, ymax, xmax, inclusive) and size [R]
(pixels). Files that cannot be read are named and skipped; the exit code is then 1.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer
from dht_mm.tokenizer.shipped import shipped_tokenizer
from dht_mm.visualization import atomic_file, draw_borders, paint_mean_color, read_image, save_png, upscale

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
OUTPUTS = ('_overlay.png', '_mean_color.png', '_labels.npz')


def parse_args(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """The options, and the parser for later complaints about them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', nargs='+', type=Path, metavar='IMAGE')
    parser.add_argument('--out-dir', type=Path, required=True, help='folder for the results; made if it is not there')
    parser.add_argument('--scale', type=int, default=1, help='enlarge the overlay by this integer, so that borders hide less')
    add_tokenizer_options(parser)
    parser.add_argument('--token-budget', type=int, metavar='T', help='regions to keep')
    parser.add_argument('--budget-mode', choices=('hard', 'soft'), default='hard',
                        help="hard (default): never more than T; soft: the paper's merge, which only approaches T")
    args = parser.parse_args(argv)
    for option in ('size', 'scale'):
        value = getattr(args, option)
        if value is not None and value < 1:
            parser.error(f'--{option} must be at least 1, got {value}')
    return args, parser


def add_tokenizer_options(parser: argparse.ArgumentParser) -> None:
    """The options of a tokenizer, apart from its budget, and of what it is given."""
    parser.add_argument('--checkpoint', metavar='FILE', help='weights of a tokenizer, alone or inside a model (default: those that come '
                        'with the package, trained at the compactness nearest to the one here)')
    parser.add_argument('--size', type=int, metavar='PIXELS', help='resize the longer side to this before tokenizing')
    parser.add_argument('--compactness', type=float, help='share of the shape in the edge weights, in [0, 1)')
    parser.add_argument('--criterion', choices=('aic', 'aicc', 'bic', 'cic'))
    parser.add_argument('--kernel', choices=('gaussian', 'cosine', 'tanimoto'))
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')


def build_tokenizer(args: argparse.Namespace, budget: dict | None = None) -> DHTTokenizer:
    """The tokenizer that the options ask for, with its weights, in evaluation mode."""
    given = {name: getattr(args, name) for name in ('compactness', 'criterion', 'kernel') if getattr(args, name) is not None}
    tokenizer = DHTTokenizer(**given, token_budget=budget)
    load_tokenizer(tokenizer, args.checkpoint or shipped_tokenizer(tokenizer.options['compactness']))
    return tokenizer.to(args.device).eval()


def resize(image: np.ndarray, longer_side: int | None) -> np.ndarray:
    """``[H, W, 3]`` uint8 with its longer side at ``longer_side`` pixels; unchanged for None."""
    height, width = image.shape[:2]
    if longer_side is None or longer_side == max(height, width):
        return image
    scale = longer_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def normalize(image: np.ndarray, device: str) -> torch.Tensor:
    """One ``[H, W, 3]`` uint8 image as the ``[1, 3, H, W]`` that tokenizers take."""
    pixels = torch.from_numpy(image).to(device).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((pixels - mean) / std)[None]


@torch.inference_mode()
def tokenize(tokenizer: DHTTokenizer, image: np.ndarray, device: str) -> Partition:
    """The partition of one ``[H, W, 3]`` uint8 image, on the CPU."""
    return tokenizer(normalize(image, device)).to('cpu')


def output_names(images: Sequence[Path], out_dir: Path, suffixes: Sequence[str] = OUTPUTS) -> list[str]:
    """A name for each image under which no result overwrites an input or another image's result."""
    names, taken = [], {image.resolve() for image in images}
    for image in images:
        name, number = image.stem, 1
        while taken & (files := {(out_dir / f'{name}{suffix}').resolve() for suffix in suffixes}):
            number += 1
            name = f'{image.stem}-{number}'
        taken |= files
        names.append(name)
    return names


def write_results(stem: Path, image: np.ndarray, partition: Partition, scale: int) -> None:
    """The three files of one image, at ``stem`` followed by each of ``OUTPUTS``."""
    overlay, mean_color, label_map = (stem.with_name(stem.name + suffix) for suffix in OUTPUTS)
    labels = partition.labels[0].numpy()
    save_png(overlay, draw_borders(upscale(image, scale), upscale(labels, scale)))
    save_png(mean_color, paint_mean_color(image, labels))
    with atomic_file(label_map) as file:
        np.savez_compressed(file, labels=labels, bbox=partition.bbox.numpy(), size=partition.size.numpy())


def main(argv: Sequence[str] | None = None) -> int:
    """Tokenize every image; the exit code says whether all could be read."""
    args, parser = parse_args(argv)
    budget = None if args.token_budget is None else dict(mode=args.budget_mode, test=args.token_budget)
    try:
        tokenizer = build_tokenizer(args, budget)
        args.out_dir.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    failed = []
    for path, name in zip(args.images, output_names(args.images, args.out_dir), strict=True):
        try:
            image = resize(read_image(path), args.size)
        except (FileNotFoundError, ValueError) as error:
            print(f'{path}: skipped, {error}', file=sys.stderr)
            failed.append(path)
            continue
        start = time.perf_counter()
        partition = tokenize(tokenizer, image, args.device)
        seconds = time.perf_counter() - start
        try:
            write_results(args.out_dir / name, image, partition, args.scale)
        except OSError as error:
            parser.exit(1, f'cannot write the results of {path} to {args.out_dir}: {error}\n')
        print(f'{path}: {partition.total_regions} regions in {image.shape[1]}x{image.shape[0]} pixels, {seconds:.2f} s -> {name}')
    written = len(args.images) - len(failed)
    print(f'{written} of {len(args.images)} images tokenized; in {args.out_dir}: NAME' + ', NAME'.join(OUTPUTS))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
