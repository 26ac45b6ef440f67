"""Images a second in evaluation at several numbers of tokens: dHT-ViT beside timm's plain ViT on the same images, which always has the
same number of tokens, and beside one that has as many tokens since its images are smaller or larger.

    python benchmarks/backbone/evaluate.py --images ../shared/images --tokenizer TOKENIZER.pth --archs base --graph --json evaluate.json \\
        --into benchmarks/results/backbone_evaluation_h200.json

The tokenizer's time is what a batch takes less when the partition is given. Ratios are our time by the plain ViT's of the same kind,
eager or compiled, as CUDA graphs (--graph) or not. --into puts the figures into the results that docs/write_tables.py shows.
"""

import argparse
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from common import (
    GivenPartition,
    Kind,
    autocast,
    device_name,
    dht_vit,
    fit_budget,
    kinds,
    median_ms,
    parser,
    photographs,
    plain_tokens,
    plain_vit,
    save,
    table,
)
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[1]))
from results_file import update_result  # noqa: E402

COLUMNS = ['', 'tokens', 'batch', 'of it the tokenizer', 'images a second', 'time by that of the plain ViT of {} tokens',
           'by that of one of as many']


def parse_args() -> argparse.Namespace:
    result = parser(__doc__)
    result.add_argument('--tokens', type=float, nargs='+', default=[50, 100, 197, 400],
                        help='tokens of an image on average, class token included (default: 50 100 197 400)')
    result.add_argument('--into', type=Path, help='file of results to put the figures into')
    return result.parse_args()


def inference(model: nn.Module, images: Tensor, args: argparse.Namespace) -> Callable[[], None]:
    """One forward of a batch, by a function."""
    model.eval()

    def step() -> None:
        with torch.inference_mode(), autocast(args):
            model(images)

    return step


def nearest_size(tokens: float) -> int:
    """Side of the images of which a plain ViT/16 has about as many tokens."""
    return 16 * max(1, round((tokens - 1)**0.5))


def rows_of(arch: str, kind: Kind, images: Tensor, args: argparse.Namespace) -> list[dict[str, object]]:
    """A row for each number of tokens."""
    model, plain, rows = dht_vit(arch, args, kind).eval(), plain_vit(arch, args, kind), []
    for tokens in args.tokens:
        found = fit_budget(model, images, tokens)
        ours, given = deepcopy(model), deepcopy(model)  # which have no graphs of another budget
        with torch.no_grad():
            given.backbone.tokenizer = GivenPartition(ours.backbone.tokenizer(images))
        size = nearest_size(tokens)
        equal, resized = plain_vit(arch, args, kind, size), F.interpolate(images, (size, size), mode='bilinear')
        steps = {name: inference(model, images, args) for name, model in dict(ours=ours, given=given, plain=plain).items()}
        times = median_ms(steps | dict(equal=inference(equal, resized, args)), args)
        per_second = {name: len(images) / time * 1e3 for name, time in times.items()}
        rows.append(dict(
            model=f'dHT-{arch}/16', blocks=str(kind), tokens=found, batch_ms=times['ours'],
            tokenizer_ms=times['ours'] - times['given'], images_per_s=per_second['ours'], plain_tokens=plain_tokens(args.size),
            plain_batch_ms=times['plain'], plain_images_per_s=per_second['plain'], ratio=times['ours'] / times['plain'],
            equal_tokens=plain_tokens(size), equal_batch_ms=times['equal'], equal_images_per_s=per_second['equal'],
            equal_ratio=times['ours'] / times['equal']))
    return rows


def shown(row: dict) -> list[str]:
    """A row as the page has it."""
    return [f'{row["model"]}, {row["blocks"]}', f'{row["tokens"]:.0f}', f'{row["batch_ms"]:.1f} ms', f'{row["tokenizer_ms"]:.1f} ms',
            f'{row["images_per_s"]:.0f}', f'{row["ratio"]:.2f}', f'{row["equal_ratio"]:.2f}']


def main() -> None:
    args = parse_args()
    print(device_name(args))
    images = photographs(args)
    rows = [row for arch in args.archs for kind in kinds(args) for row in rows_of(arch, kind, images, args)]
    table(rows)
    save(args, rows)
    if args.into:
        columns = [title.format(plain_tokens(args.size)) for title in COLUMNS]
        update_result(args.into, columns, rows=[shown(row) for row in rows])


if __name__ == '__main__':
    main()
