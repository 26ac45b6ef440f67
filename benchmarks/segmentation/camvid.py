"""Fine-tune a plain ViT and dHT-ViTs on CamVid the same way, with the same number of tokens, and compare their masks.

    python benchmarks/segmentation/pack_camvid.py --data DATA/camvid --vit VIT.pth --out FOLDER
    python benchmarks/segmentation/camvid.py --data FOLDER/camvid.npz --vit FOLDER/vit.npz --tokenizer TOKENIZER.pth \\
        --variants plain grid:window:paint spread:window:mix --tokens 300 --seeds 0 --json camvid.json

A variant is named PARTITION:CONTENT:DECODE, see variants.py: which regions, what a token sees of its own, and how pixels get their
logits. `plain` is the plain ViT, a linear map of its patches interpolated bilinearly. Images are 360 x 480; the plain ViT sees them
resized to whole patches. Runs follow one another, variants first, then budgets, then seeds; each prints its row when it ends, and none
is begun that would not end within --limit seconds.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from packing import load_images, load_weights
from scoring import evaluate
from segmenter import Segmenter
from torch import Tensor
from training import build_optimizer, train
from variants import Variant, parse_variant

GRIDS = {154: (11, 14), 300: (15, 20), 588: (21, 28), 1200: (30, 40)}
NUM_CLASSES = 11
SHOWN = dict(miou='mIoU', trimap_1='1 px', trimap_3='3 px', trimap_5='5 px', boundary='boundary', oracle='ceiling', tokens='tokens',
             ms_per_step='ms/step', images_per_s='images/s', seconds='s')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='file of pack_camvid.py')
    parser.add_argument('--vit', type=Path, required=True, help='file of pack_camvid.py')
    parser.add_argument('--tokenizer', type=Path, help='weights of a dHT tokenizer; without, they are random')
    parser.add_argument('--variants', nargs='+', default=['plain'], metavar='NAME')
    parser.add_argument('--tokens', nargs='+', type=int, choices=list(GRIDS), default=[300], help='mean number (default: 300)')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--epochs', type=int, default=40)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--lr', type=float, default=1e-4)
    parser.add_argument('--layer-decay', type=float, default=0.85)
    parser.add_argument('--weight-decay', type=float, default=0.05)
    parser.add_argument('--colour', type=float, default=0.2, help='strength of the colour jitter (default: %(default)s)')
    parser.add_argument('--stride', type=int, default=2, help='of the pixels that the loss is taken at (default: %(default)s)')
    parser.add_argument('--train-images', type=int, help='at most so many')
    parser.add_argument('--test-images', type=int, help='at most so many')
    parser.add_argument('--limit', type=float, default=float('inf'), help='seconds for all runs')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dtype', choices=('bfloat16', 'float32'), default='bfloat16', help='of autocast; float32 is without')
    parser.add_argument('--json', type=Path, help='file to write all figures to, after every run')
    return parser.parse_args()


def run(variant: Variant, grid: tuple[int, int], seed: int, data: dict[str, tuple[Tensor, Tensor]], vit: dict[str, Tensor],
        args: argparse.Namespace) -> dict:
    """Train and score one variant."""
    start = time.perf_counter()
    torch.manual_seed(seed)
    device = torch.device(args.device).type
    autocast = torch.autocast(device, torch.bfloat16, enabled=args.dtype == 'bfloat16')
    model = Segmenter(variant, grid, vit, args.tokenizer, NUM_CLASSES).to(args.device)
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
    optimizer = build_optimizer(model, args.lr, args.layer_decay, args.weight_decay)
    row = dict(variant=variant.name, grid=grid[0] * grid[1], seed=seed)
    row |= train(model, *data['train'], args.epochs, args.batch, args.colour, args.stride, optimizer, autocast)
    row |= evaluate(model, *data['test'], NUM_CLASSES, args.batch, autocast)
    return row | dict(kernel=model.decode.kernel.tolist(), seconds=time.perf_counter() - start)


def load_data(args: argparse.Namespace) -> dict[str, tuple[Tensor, Tensor]]:
    """Images and labels of both splits on the device, every n-th where fewer are asked for."""
    data = {}
    for split, most in (('train', args.train_images), ('test', args.test_images)):
        images, labels = load_images(args.data, split, args.device)
        step = -(-len(images) // most) if most else 1
        data[split] = images[::step], labels[::step]
    return data


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('WARNING')  # the optimizer's constructor reports every parameter
    variants = [parse_variant(name) for name in args.variants]
    start = time.perf_counter()
    data, vit = load_data(args), load_weights(args.vit)
    on_gpu = torch.device(args.device).type == 'cuda'
    print(f'{torch.cuda.get_device_name() if on_gpu else "CPU"}, torch {torch.__version__}, {args.dtype}, '
          f'{len(data["train"][0])} + {len(data["test"][0])} images, loaded in {time.perf_counter() - start:.1f} s')
    print(f'| variant | T | seed | {" | ".join(SHOWN.values())} |\n|{"---|" * (3 + len(SHOWN))}', flush=True)
    rows, longest = [], 0.0
    for variant, tokens, seed in ((v, t, s) for s in args.seeds for t in args.tokens for v in variants):
        if time.perf_counter() - start + longest > args.limit:
            print(f'no time left for {variant.name}, T {tokens}, seed {seed}')
            break
        row = run(variant, GRIDS[tokens], seed, data, vit, args)
        longest = max(longest, row['seconds'])
        rows.append(row)
        print(f'| {row["variant"]} | {tokens} | {seed} | {" | ".join(f"{row[name]:.4g}" for name in SHOWN)} |', flush=True)
        if args.json:
            options = {name: str(value) for name, value in vars(args).items()}
            args.json.write_text(json.dumps(dict(options=options, rows=rows), indent=1) + '\n')


if __name__ == '__main__':
    main()
