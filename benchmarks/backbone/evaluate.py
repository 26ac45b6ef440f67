"""Images a second in evaluation at several numbers of tokens: dHT-ViT beside timm's plain ViT, which always has the same number.

    python benchmarks/backbone/evaluate.py --images ../shared/images --tokenizer TOKENIZER.pth --json evaluate.json

Ratios are our time by the plain ViT's of the same kind, eager or compiled.
"""

import argparse
from collections.abc import Callable

import torch
from common import autocast, device_name, dht_vit, fit_budget, median_ms, parser, photographs, plain_vit, save, table
from torch import Tensor, nn


def parse_args() -> argparse.Namespace:
    result = parser(__doc__)
    result.add_argument('--tokens', type=float, nargs='+', default=[50, 100, 197, 200, 400],
                        help='tokens of an image on average, class token included (default: 50 100 197 200 400)')
    result.add_argument('--eager-only', action='store_true', help='leave out the models with compiled blocks')
    return result.parse_args()


def inference(model: nn.Module, images: Tensor, args: argparse.Namespace) -> Callable[[], None]:
    """One forward of a batch, by a function."""
    model.eval()

    def step() -> None:
        with torch.inference_mode(), autocast(args):
            model(images)

    return step


def rows_of(arch: str, compiled: bool, images: Tensor, args: argparse.Namespace) -> list[dict[str, object]]:
    """The plain ViT's row, and ours for each number of tokens."""
    ours, plain = dht_vit(arch, args, compiled).eval(), plain_vit(arch, args, compiled)
    blocks, rows = 'compiled' if compiled else 'eager', []
    for tokens in args.tokens:
        found = fit_budget(ours, images, tokens)
        times = median_ms({'plain': inference(plain, images, args), 'ours': inference(ours, images, args),
                           'tokenizer': inference(ours.backbone.tokenizer, images, args)}, args)
        for name, model, count in (('plain', 'ViT', float(plain.pos_embed.shape[1])), ('ours', 'dHT', found)):
            rows.append(dict(
                model=f'{model}-{arch}/16', blocks=blocks, tokens=count, batch_ms=times[name], images_per_s=len(images) / times[name] * 1e3,
                ratio=times[name] / times['plain'], tokenizer_ms=times['tokenizer'] if name == 'ours' else 0.0))
    return rows


def main() -> None:
    args = parse_args()
    print(device_name(args))
    images, rows = photographs(args), []
    for arch in args.archs:
        for compiled in (False,) if args.eager_only else (False, True):
            rows += rows_of(arch, compiled, images, args)
    table(rows)
    save(args, rows)


if __name__ == '__main__':
    main()
