"""What a token budget costs in time, beside the tokenizer without one.

    python benchmarks/superpixels/budget_speed.py --images DATA/bsds500/images/train --checkpoint tokenizer.pth --size 224 --batch 128

Prints the median time of a batch for every op, with the compiled kernels and in pure torch, and for the whole budget step.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from dht_mm.ops import hard_merge, soft_merge, unite_regions, united_mean, use_backend
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer, TokenBudget
from dht_mm.tokenizer.checkpoint import load_tokenizer

IMAGENET_MEAN, IMAGENET_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=Path, required=True, help='folder of .jpg photographs')
    parser.add_argument('--checkpoint', type=Path, required=True, help='weights of a DHTTokenizer')
    parser.add_argument('--compactness', type=float, default=0.01, help='that of the weights (default: %(default)s)')
    parser.add_argument('--size', type=int, default=224, help='side of the images in pixels (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--budget', type=int, metavar='T', help='default: that of an image of this size in evaluation')
    parser.add_argument('--repeats', type=int, default=20, help='runs of which the median is taken, a fifth in pure torch (default: 20)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args()


def photographs(args: argparse.Namespace) -> torch.Tensor:
    """``[B, 3, H, W]`` normalised: the folder's photographs in turn."""
    files = sorted(args.images.glob('*.jpg'))
    if not files:
        raise SystemExit(f'--images must be a folder of .jpg files, but {args.images} has none')
    side = (args.size, args.size)
    pixels = np.stack([np.array(Image.open(files[i % len(files)]).convert('RGB').resize(side)) for i in range(args.batch)])
    return torch.from_numpy(((pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(0, 3, 1, 2)).float().contiguous().to(args.device)


def milliseconds(run: Callable, device: str, repeats: int) -> float:
    times = []
    for _ in range(repeats + 2):
        if device == 'cuda':
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device == 'cuda':
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * median(times[2:])


def steps(images: torch.Tensor, partition: Partition, target: int) -> dict[str, Callable]:
    """What is timed, by name."""
    packing, pixels = (partition.labels, partition.offsets, partition.size), images[0, 0].numel()
    parent, offsets = hard_merge(images, *packing, target)
    size = unite_regions(*packing, partition.bbox, parent, offsets)[1]
    seed = torch.tensor(1)

    def soft(seed: torch.Tensor | None = None) -> object:
        return soft_merge(*packing, partition.bbox, partition.color, target, seed=seed)

    return {
        'soft_merge': soft, 'soft_merge, sampled': lambda: soft(seed), 'hard_merge': lambda: hard_merge(images, *packing, target),
        'unite_regions': lambda: unite_regions(*packing, partition.bbox, parent, offsets),
        'united_mean': lambda: united_mean(partition.mean, partition.offsets, partition.size, parent, size, pixels),
        'soft budget': lambda: TokenBudget('soft', test=target).merge(partition, images, False, 'gaussian'),
        'hard budget': lambda: TokenBudget('hard', test=target).merge(partition, images, False, 'gaussian')}


@torch.inference_mode()
def main() -> None:
    args = parse_args()
    tokenizer = DHTTokenizer(compactness=args.compactness)
    load_tokenizer(tokenizer, args.checkpoint)
    tokenizer, images = tokenizer.to(args.device).eval(), photographs(args)
    target = args.budget or TokenBudget('hard').target(args.size**2, training=False)
    with use_backend('ext'):
        partition = tokenizer(images)
        alone = milliseconds(lambda: tokenizer(images), args.device, args.repeats)
    device = torch.cuda.get_device_name() if args.device == 'cuda' else f'CPU, {torch.get_num_threads()} threads'
    print(f'{device}, batch of {args.batch}, {args.size} x {args.size}, T {target}: {partition.num_regions.float().mean():.0f} regions an '
          f'image, at most {partition.num_regions.max()}\n\n| step | ext ms | torch ms | ratio |\n|---|---|---|---|')
    for name, run in steps(images, partition, target).items():
        with use_backend('ext'):
            compiled = milliseconds(run, args.device, args.repeats)
        with use_backend('torch'):
            plain = milliseconds(run, args.device, max(1, args.repeats // 5))
        print(f'| {name} | {compiled:.3f} | {plain:.2f} | {plain / compiled:.0f} |', flush=True)
    print(f'| tokenizer without a budget | {alone:.3f} | | |')


if __name__ == '__main__':
    main()
