"""Images a second in evaluation at several numbers of tokens: dHT-ViT beside timm's plain ViT, which always has the same number.

    python benchmarks/backbone/evaluate.py --images ../shared/images --tokenizer TOKENIZER.pth --json evaluate.json

The tokenizer's time is what a batch takes less when the partition is given. The ratio is our time by the plain ViT's of the same kind,
eager or compiled, as CUDA graphs (--graph) or not.
"""

import argparse
from collections.abc import Callable
from copy import deepcopy

import torch
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


def parse_args() -> argparse.Namespace:
    result = parser(__doc__)
    result.add_argument('--tokens', type=float, nargs='+', default=[50, 100, 197, 400],
                        help='tokens of an image on average, class token included (default: 50 100 197 400)')
    return result.parse_args()


def inference(model: nn.Module, images: Tensor, args: argparse.Namespace) -> Callable[[], None]:
    """One forward of a batch, by a function."""
    model.eval()

    def step() -> None:
        with torch.inference_mode(), autocast(args):
            model(images)

    return step


def rows_of(arch: str, kind: Kind, images: Tensor, args: argparse.Namespace) -> list[dict[str, object]]:
    """A row for each number of tokens."""
    model, plain, rows = dht_vit(arch, args, kind).eval(), plain_vit(arch, args, kind), []
    for tokens in args.tokens:
        found = fit_budget(model, images, tokens)
        ours, given = deepcopy(model), deepcopy(model)  # which have no graphs of another budget
        with torch.no_grad():
            given.backbone.tokenizer = GivenPartition(ours.backbone.tokenizer(images))
        steps = dict(ours=ours, given=given, plain=plain)
        times = median_ms({name: inference(model, images, args) for name, model in steps.items()}, args)
        rows.append(dict(
            model=f'dHT-{arch}/16', blocks=str(kind), tokens=found, batch_ms=times['ours'],
            tokenizer_ms=times['ours'] - times['given'], images_per_s=len(images) / times['ours'] * 1e3, plain_tokens=plain_tokens(args),
            plain_batch_ms=times['plain'], plain_images_per_s=len(images) / times['plain'] * 1e3, ratio=times['ours'] / times['plain']))
    return rows


def main() -> None:
    args = parse_args()
    print(device_name(args))
    images = photographs(args)
    rows = [row for arch in args.archs for kind in kinds(args) for row in rows_of(arch, kind, images, args)]
    table(rows)
    save(args, rows)


if __name__ == '__main__':
    main()
