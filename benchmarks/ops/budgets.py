"""What a token budget costs in time, beside the tokenizer without one.

    python benchmarks/ops/budgets.py --images PHOTOS --checkpoint TOKENIZER.pth --size 224 224 --batch 128

Prints the median time of a batch for every op, with the compiled kernels and in pure torch, and for the whole budget step.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from common import build_tokenizer, median_ms, parser, photographs

from dht_mm.ops import Hierarchy, cut_regions, finer_cut, hard_merge, soft_merge, unite_regions, united_mean, use_backend
from dht_mm.structures import Partition
from dht_mm.tokenizer import TokenBudget
from dht_mm.tokenizer.spread import coarse_grid


def steps(images: torch.Tensor, hierarchy: Hierarchy, partition: Partition, target: int) -> dict[str, Callable]:
    """What is timed, by name."""
    exact, cut = TokenBudget('exact', test=target), finer_cut(hierarchy, target)
    packing, pixels = (partition.labels, partition.offsets, partition.size), images[0, 0].numel()
    parent, offsets = hard_merge(images, *packing, target)
    size = unite_regions(*packing, partition.bbox, parent, offsets)[1]
    seed, grid = torch.tensor(1), coarse_grid(*images.shape[2:], target)

    def merge_exactly() -> Partition:
        cut = exact.cut(hierarchy, False)
        finer = Partition(*cut[:3], cut.bbox, cut.size, cut.mean, cut.mean)  # its colours do not count
        return exact.merge(finer, images, False, 'gaussian')

    def hard_merge_of_cut() -> object:
        return hard_merge(images, cut.labels, cut.offsets, cut.size, target)

    def soft(seed: torch.Tensor | None = None) -> object:
        return soft_merge(*packing, partition.bbox, partition.color, target, seed=seed)

    return {
        'soft_merge': soft, 'soft_merge, sampled': lambda: soft(seed), 'hard_merge': lambda: hard_merge(images, *packing, target),
        'unite_regions': lambda: unite_regions(*packing, partition.bbox, parent, offsets),
        'united_mean': lambda: united_mean(partition.mean, partition.offsets, partition.size, parent, size, pixels),
        'soft budget': lambda: TokenBudget('soft', test=target).merge(partition, images, False, 'gaussian'),
        'hard budget': lambda: TokenBudget('hard', test=target).merge(partition, images, False, 'gaussian'),
        'cut_regions': lambda: cut_regions(*packing, grid),
        'hard budget of even size': lambda: TokenBudget('hard', test=target, spread=0.1).merge(partition, images, False, 'gaussian'),
        'finer_cut': lambda: finer_cut(hierarchy, target), 'hard_merge of the cut': hard_merge_of_cut, 'exact budget': merge_exactly}


@torch.inference_mode()
def main() -> None:
    options = parser(__doc__)
    options.add_argument('--size', type=int, nargs=2, default=(224, 224), metavar=('H', 'W'), help='pixels (default: 224 224)')
    options.add_argument('--batch', type=int, default=8)
    options.add_argument('--budget', type=int, metavar='T', help='default: that of an image of this size in evaluation')
    options.add_argument('--processor-time', action='store_true', help='on a busy CPU: not the host\'s clock')
    args = options.parse_args()
    tokenizer, (height, width) = build_tokenizer(args), args.size
    images = photographs(args.images, args.batch, height, width, args.device)
    target = args.budget or TokenBudget('hard').target(height * width, training=False)
    clock = time.process_time if args.processor_time else time.perf_counter
    measure = partial(median_ms, device=args.device, clock=clock)
    with use_backend('ext'):
        hierarchy, partition = tokenizer.hierarchy(images), tokenizer(images)
        alone = measure(lambda: tokenizer(images), repeats=args.repeats)
        finer = finer_cut(hierarchy, target).num_regions.float().mean()
    device = torch.cuda.get_device_name() if args.device.startswith('cuda') else f'CPU, {torch.get_num_threads()} threads'
    print(f'{device}, batch of {args.batch}, {height} x {width}, T {target}: {partition.num_regions.float().mean():.0f} regions an '
          f'image, at most {partition.num_regions.max()}, {finer:.0f} in the cut\n\n'
          '| step | ext ms | torch ms | ratio |\n|---|---|---|---|')
    for name, run in steps(images, hierarchy, partition, target).items():
        with use_backend('ext'):
            compiled = measure(run, repeats=args.repeats)
        with use_backend('torch'):
            plain = measure(run, repeats=max(1, args.repeats // 5))
        print(f'| {name} | {compiled:.3f} | {plain:.2f} | {plain / compiled:.0f} |', flush=True)
    print(f'| tokenizer without a budget | {alone:.3f} | | |')


if __name__ == '__main__':
    main()
