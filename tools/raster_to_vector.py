"""Turn images into SVG documents of filled, smoothly bordered regions.

    python tools/raster_to_vector.py photo.jpg other.png -o vectors --tokens 400

For each image NAME it writes NAME.svg and prints one line of a table: regions and paths, size of the file, and, where a renderer
(resvg-py or cairosvg) and scikit-image are installed, PSNR and SSIM of the rendered file against the image. Files that cannot be read
are named and skipped; the exit code is then 1.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from svg_quality import render, ssim
from tokenize_image import add_tokenizer_options, build_tokenizer, normalize, output_names, resize

from dht_mm.metrics import psnr
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.vector import merge_regions, save_svg, vectorize, vectorize_published
from dht_mm.visualization import level_labels, read_image, selected_levels

# Regions are merged down to T from the coarsest level of the hierarchy that has this many times T, or from level 1: the finer, the more of
# a texture's contrast is kept (measured: 0.4 dB and 0.02 of SSIM from 6 to 40, at 300 of 512 x 512), and the longer it takes.
FINENESS = 40
GAIN = 30000  # of squared error, from which a gradient's 160 bytes were found to buy about what smaller regions would
COLUMNS = f'{"":>9} {"regions":>7} {"paths":>6} {"kB":>7} {"PSNR":>6} {"SSIM":>6} {"seconds":>7}  file'


class Row(NamedTuple):
    """What became of one image: ``psnr`` in dB, ``seconds`` for finding the regions and writing them as SVG."""

    regions: int
    paths: int
    kilobytes: float
    psnr: float
    ssim: float
    seconds: float


def parse_args(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """The options, and the parser for later complaints about them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', nargs='+', type=Path, metavar='IMAGE')
    parser.add_argument('-o', '--out-dir', type=Path, required=True, help='folder for the results; made if it is not there')
    add_tokenizer_options(parser)
    parser.add_argument('--tokens', type=int, metavar='T', help='number of regions, merged from a fine level of the hierarchy to least '
                        "squared error; without it the tokenizer's own choice of regions")
    parser.add_argument('--tolerance', type=float, default=0.5, metavar='PX', help='distance of curves from pixel borders; 0: none')
    parser.add_argument('--steps', type=int, default=4, help='round coordinates to this fraction of a pixel (default: 4)')
    parser.add_argument('--gradients', type=float, nargs='?', const=GAIN, default=math.inf, metavar='GAIN', help='fill regions with '
                        f'gradients where that lowers the squared error by GAIN (default: {GAIN}); without it all fills are flat')
    parser.add_argument('--background', default='mean', metavar='{mean,squares,none,#rrggbb}', help='what lies below the regions')
    parser.add_argument('--merge-colors', action='store_true', help='one path for all regions of the same colour')
    parser.add_argument('--levels', action='store_true', help='group the paths by the level of the hierarchy they come from')
    parser.add_argument('--published', action='store_true', help="the published steps instead, for comparison (lossy)")
    args = parser.parse_args(argv)
    for option in ('size', 'tokens'):
        value = getattr(args, option)
        if value is not None and value < 1:
            parser.error(f'--{option} must be at least 1, got {value}')
    if args.levels and args.tokens is not None:
        parser.error('--levels needs the regions of the hierarchy, which --tokens merges across levels')
    return args, parser


@torch.inference_mode()
def find_regions(tokenizer: DHTTokenizer, image: np.ndarray, tokens: int | None, device: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The label map ``[H, W]`` of an image, and the level of the hierarchy of each region, None where regions are merged."""
    hierarchy = tokenizer.hierarchy(normalize(image, device))
    if tokens is None:
        return hierarchy.labels[0].cpu().numpy(), selected_levels(hierarchy)
    counts = hierarchy.level_starts.diff()[:-1]  # without the whole image
    level = max(int((counts >= FINENESS * tokens).sum()) - 1, int(counts[1:2].sum() >= tokens))
    return merge_regions(image, level_labels(hierarchy, level)[0], tokens), None


def to_svg(image: np.ndarray, labels: np.ndarray, levels: np.ndarray | None, title: str, args: argparse.Namespace) -> str:
    """The document that the options ask for."""
    if args.published:
        return vectorize_published(image, labels, title=title)
    return vectorize(image, labels, tolerance=args.tolerance, steps=args.steps, least_gain=args.gradients,
                     background=None if args.background == 'none' else args.background, merge_colors=args.merge_colors,
                     levels=levels if args.levels else None, title=title)


def convert(tokenizer: DHTTokenizer, image: np.ndarray, path: Path, target: Path, args: argparse.Namespace) -> Row:
    """Write one image's SVG and measure it."""
    start = time.perf_counter()
    labels, levels = find_regions(tokenizer, image, args.tokens, args.device)
    svg = to_svg(image, labels, levels, path.stem, args)
    seconds = time.perf_counter() - start
    save_svg(target, svg)
    painted = render(svg, image.shape[1], image.shape[0])
    quality = (math.nan, math.nan) if painted is None else (psnr(image, painted), ssim(image, painted))
    return Row(int(labels.max()) + 1, svg.count('<path'), len(svg.encode()) / 1000, *quality, seconds)


def format_row(label: str, row: Row, name: str) -> str:
    """A line of the table, with a dash for what could not be measured."""
    quality = [f'{value:6.{digits}f}' if not math.isnan(value) else f'{"-":>6}' for value, digits in ((row.psnr, 2), (row.ssim, 3))]
    return f'{label:>9} {row.regions:7.0f} {row.paths:6.0f} {row.kilobytes:7.1f} {" ".join(quality)} {row.seconds:7.2f}  {name}'


def main(argv: Sequence[str] | None = None) -> int:
    """Vectorize every image; the exit code says whether all could be read."""
    args, parser = parse_args(argv)
    try:
        tokenizer = build_tokenizer(args)
        to_svg(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.int64), np.zeros(1, np.int64), '', args)  # tries the options
        args.out_dir.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    rows = []
    print(COLUMNS)
    for number, (path, name) in enumerate(zip(args.images, output_names(args.images, args.out_dir, ['.svg']), strict=True), 1):
        try:
            image = resize(read_image(path), args.size)
        except (FileNotFoundError, ValueError) as error:
            print(f'{path}: skipped, {error}', file=sys.stderr)
            continue
        try:
            rows.append(convert(tokenizer, image, path, args.out_dir / f'{name}.svg', args))
        except OSError as error:
            parser.exit(1, f'cannot write the result of {path} to {args.out_dir}: {error}\n')
        print(format_row(f'{number}/{len(args.images)}', rows[-1], f'{path} -> {name}.svg'), flush=True)
    if len(rows) > 1:
        print(format_row('mean', Row(*np.mean(rows, 0)), ''))
    print(f'{len(rows)} of {len(args.images)} images vectorized; in {args.out_dir}: NAME.svg')
    return 0 if len(rows) == len(args.images) else 1


if __name__ == '__main__':
    sys.exit(main())
