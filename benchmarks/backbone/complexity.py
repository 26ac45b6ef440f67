"""Parameters and multiply-adds of every capacity of DHTViT, in all and of its parts, as a table in Markdown.

    python benchmarks/backbone/complexity.py

Counted by torch's FLOP counter, half of its FLOPs, in one forward of one image. The image is cut into the squares of a plain ViT, so
that the number of regions is known; the tokenizer, whose share that leaves out, is counted on an image of smooth noise and added.
"""

import argparse

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dht_mm.backbones import ARCHS, DHTViT
from dht_mm.tokenizer import DHTTokenizer, GridTokenizer

COLUMNS = ('model', 'parameters (M)', 'all (G)', 'tokenizer (G)', 'features and embedding (G)', 'of them gradient features (G)',
           'attention (G)', 'other layers (G)')


def parse_args() -> argparse.Namespace:
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument('--archs', nargs='+', default=list(ARCHS), choices=list(ARCHS), help='capacities (default: all)')
    result.add_argument('--size', type=int, default=224, help='side of the image (default: %(default)s)')
    result.add_argument('--out-type', default='raw', help='output of the model; for cls_token alone the last block computes less '
                        '(default: %(default)s)')
    result.add_argument('--patch-size', type=int, default=16, help='side of the squares (default: %(default)s)')
    return result.parse_args()


@torch.no_grad()
def multiply_adds(model: nn.Module, image: torch.Tensor) -> dict[str, dict[str, float]]:
    """Multiply-adds in units of 1e9, by the name of the module within ``model`` (all of it: '') and of the operator."""
    with FlopCounterMode(display=False) as counter:
        model(image)
    root = type(model).__name__
    return {name.removeprefix(root).removeprefix('.'): {str(op): count / 2e9 for op, count in counts.items()}
            for name, counts in counter.get_flop_counts().items() if name != 'Global'}


def row(arch: str, args: argparse.Namespace) -> list[str]:
    """One capacity's row of the table."""
    torch.manual_seed(0)
    noise = torch.randn(1, 3, args.size // 8 + 1, args.size // 8 + 1)
    image = nn.functional.interpolate(noise, (args.size, args.size), mode='bicubic')
    tokenizer = DHTTokenizer().eval()
    model = DHTViT(GridTokenizer(args.patch_size), arch, args.size, args.patch_size, out_type=args.out_type,
                   features=dict(gradient=True, inject_mean=True)).eval()
    parts = multiply_adds(model, image)
    tokenizing = sum(multiply_adds(tokenizer, image)[''].values())
    total = sum(parts[''].values()) + tokenizing
    encoder = sum(parts['encoder'].values())
    attention = sum(count for op, count in parts['encoder'].items() if 'attention' in op)
    gradient = sum(parts['embedding.gradient_embed'].values())
    parameters = sum(parameter.numel() for module in (model, tokenizer) for parameter in module.parameters()) / 1e6
    figures = (f'{parameters:.1f}', f'{total:.2f}', f'{tokenizing:.3f}', f'{total - tokenizing - encoder:.3f}', f'{gradient:.3f}',
               f'{attention:.2f}', f'{encoder - attention:.2f}')
    return [f'dHT-{arch[0].upper()}/{args.patch_size}', *figures]


def main() -> None:
    args = parse_args()
    print(f'{args.size} x {args.size} pixels, {(-(-args.size // args.patch_size))**2} regions and a class token\n')
    print('| ' + ' | '.join(COLUMNS) + ' |\n|' + '---|' * len(COLUMNS))
    for arch in args.archs:
        print('| ' + ' | '.join(row(arch, args)) + ' |', flush=True)


if __name__ == '__main__':
    main()
