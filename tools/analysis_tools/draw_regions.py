"""Draw what a tokenizer makes of images: its regions, the levels of its hierarchy, and how many regions the images have.

    python tools/analysis_tools/draw_regions.py PHOTOS other.jpg --out-dir pictures --checkpoint tokenizer.pth

A folder stands for the images in it. For each image NAME it writes NAME_regions.png (borders, mean colours, a colour for each region) and
NAME_levels.png (every level of the hierarchy, and which level each region was selected from: both before any token budget), and for all
of them counts.png, the histogram of their numbers of regions, and counts.csv. Files that cannot be read are named and skipped; the exit
code is then 1.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.utils import track_iter_progress

from dht_mm.tokenizer import DHTTokenizer
from dht_mm.visualization import atomic_file, count_histogram, draw_levels, draw_regions, read_image, save_png

sys.path.append(str(Path(__file__).resolve().parents[1]))
from annotated_images import list_images  # noqa: E402
from tokenize_image import add_tokenizer_options, build_tokenizer, normalize, output_names, resize  # noqa: E402

OUTPUTS = ('_regions.png', '_levels.png')


def parse_args(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """The options, and the parser for later complaints about them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', nargs='+', type=Path, metavar='IMAGE|FOLDER')
    parser.add_argument('--out-dir', type=Path, required=True, help='folder for the pictures; made if it is not there')
    add_tokenizer_options(parser)
    parser.add_argument('--token-budget', type=int, metavar='T', help='the most regions; without it as many as the tokenizer selects')
    args = parser.parse_args(argv)
    if args.size is not None and args.size < 1:
        parser.error(f'--size must be at least 1, got {args.size}')
    return args, parser


@torch.inference_mode()
def draw(tokenizer: DHTTokenizer, path: Path, stem: Path, args: argparse.Namespace) -> int:
    """Write the two pictures of one image, at ``stem`` followed by each of ``OUTPUTS``; returns its number of regions."""
    image = resize(read_image(path), args.size)
    inputs = normalize(image, args.device)
    partition = tokenizer(inputs)
    regions, levels = (stem.with_name(stem.name + suffix) for suffix in OUTPUTS)
    save_png(regions, draw_regions(image, partition))
    save_png(levels, draw_levels(image, tokenizer.hierarchy(inputs)))
    return partition.total_regions


def write_counts(folder: Path, counts: dict[str, int]) -> None:
    """The histogram and the table of the numbers of regions."""
    save_png(folder / 'counts.png', count_histogram(list(counts.values())))
    with atomic_file(folder / 'counts.csv') as file:
        file.write('\n'.join(['name,regions', *(f'{name},{count}' for name, count in counts.items()), '']).encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Draw every image; the exit code says whether all could be read."""
    args, parser = parse_args(argv)
    try:
        images = list_images(args.images)
        tokenizer = build_tokenizer(args, None if args.token_budget is None else dict(mode='hard', test=args.token_budget))
        args.out_dir.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    counts = {}
    for path, name in track_iter_progress(list(zip(images, output_names(images, args.out_dir, OUTPUTS), strict=True)), file=sys.stderr):
        try:
            counts[name] = draw(tokenizer, path, args.out_dir / name, args)
        except (FileNotFoundError, ValueError) as error:
            print(f'\n{path}: skipped, {error}', file=sys.stderr)
    print(file=sys.stderr)
    if counts:
        write_counts(args.out_dir, counts)
    print(f'{len(counts)} of {len(images)} images drawn; in {args.out_dir}: NAME' + ', NAME'.join(OUTPUTS) + ', counts.png, counts.csv')
    return 0 if len(counts) == len(images) else 1


if __name__ == '__main__':
    sys.exit(main())
