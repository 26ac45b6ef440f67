"""Fine-tune a plain ViT and dHT-ViTs on CamVid the same way, with the same number of tokens, and compare their masks.

    python benchmarks/segmentation/pack_camvid.py --data DATA/camvid --vit VIT.pth --out FOLDER
    python benchmarks/segmentation/camvid.py --data FOLDER/camvid.npz --vit FOLDER/vit.npz --tokenizer TOKENIZER.pth \\
        --variants plain spread:window:mix spread:window:mix:e2e --tokens 300 --seeds 0 --json camvid.json

A variant is named PARTITION:CONTENT:DECODE, see variants.py: which regions, what a token sees of its own, and how pixels get their
logits. `plain` is the plain ViT, a linear map of its patches interpolated bilinearly. Images are 360 x 480; the plain ViT sees them
resized to whole patches. Each run prints its row when it ends, and none is begun that would not end within --limit seconds.

Steps of so small a model keep the host busy and not the GPU: several runs at once (--workers) take less time together, but their
times say nothing then. Measure these with one worker and --epochs 2.
"""

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from packing import load_images, load_weights
from scoring import evaluate
from segmenter import Segmenter
from torch import Tensor
from training import build_optimizer, train
from variants import parse_variant

GRIDS = {154: (11, 14), 300: (15, 20), 588: (21, 28), 1200: (30, 40)}
NUM_CLASSES = 11
SHOWN = dict(miou='mIoU', trimap_1='1 px', trimap_3='3 px', trimap_5='5 px', boundary='boundary', oracle='ceiling', tokens='tokens',
             ms_per_step='ms/step', images_per_s='images/s', seconds='s')
Task = tuple[str, int, int]  # variant, tokens, seed


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
    parser.add_argument('--stride', type=int, default=4, help='of the pixels that the loss is taken at (default: %(default)s)')
    parser.add_argument('--train-images', type=int, help='at most so many')
    parser.add_argument('--test-images', type=int, help='at most so many')
    parser.add_argument('--limit', type=float, default=float('inf'), help='seconds for all runs')
    parser.add_argument('--workers', type=int, default=1, help='runs at once (default: 1)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dtype', choices=('bfloat16', 'float32'), default='bfloat16', help='of autocast; float32 is without')
    parser.add_argument('--json', type=Path, help='file to write all figures to, after every run')
    return parser.parse_args()


class Runner:
    """Runs in one process, on data that is loaded once.

    Args:
        args: Options.
        deadline: Time of the clock when all must have ended.
    """

    def __init__(self, args: argparse.Namespace, deadline: float):
        MMLogger.get_current_instance().setLevel('WARNING')  # the optimizer's constructor reports every parameter
        self.args, self.deadline, self.longest = args, deadline, 0.0
        self.data = {split: self._load(split, most) for split, most in (('train', args.train_images), ('test', args.test_images))}
        self.vit = load_weights(args.vit)

    def _load(self, split: str, most: int | None) -> tuple[Tensor, Tensor]:
        """Images and labels on the device, every n-th where fewer are asked for."""
        images, labels = load_images(self.args.data, split, self.args.device)
        step = -(-len(images) // most) if most else 1
        return images[::step], labels[::step]

    def __call__(self, task: Task) -> dict | None:
        """Train and score one variant; None if there is no time left."""
        start = time.time()
        if start + self.longest > self.deadline:
            return None
        (name, tokens, seed), args = task, self.args
        torch.manual_seed(seed)
        autocast = torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.dtype == 'bfloat16')
        model = Segmenter(parse_variant(name), GRIDS[tokens], self.vit, args.tokenizer, NUM_CLASSES).to(args.device)
        optimizer = build_optimizer(model, args.lr, args.layer_decay, args.weight_decay)
        row = dict(variant=name, grid=tokens, seed=seed)
        row |= train(model, *self.data['train'], args.epochs, args.batch, args.colour, args.stride, optimizer, autocast)
        row |= evaluate(model, *self.data['test'], NUM_CLASSES, args.batch, autocast)
        row |= dict(kernel=model.decode.learned_kernel(), seconds=time.time() - start)
        self.longest = max(self.longest, row['seconds'])
        return row


_runner: Runner | None = None  # of a worker's process


def _start_worker(args: argparse.Namespace, deadline: float) -> None:
    global _runner
    torch.set_num_threads(1)
    _runner = Runner(args, deadline)


def _work(task: Task) -> dict | None:
    return _runner(task)


def results(tasks: list[Task], args: argparse.Namespace) -> Iterator[tuple[Task, dict | None]]:
    """Rows of tasks as they end."""
    deadline = time.time() + args.limit
    if args.workers == 1:
        runner = Runner(args, deadline)
        yield from ((task, runner(task)) for task in tasks)
        return
    with ProcessPoolExecutor(args.workers, get_context('spawn'), _start_worker, (args, deadline)) as pool:
        running = {pool.submit(_work, task): task for task in tasks}
        yield from ((running[future], future.result()) for future in as_completed(running))


def main() -> None:
    args = parse_args()
    tasks = [(variant, tokens, seed) for seed in args.seeds for tokens in args.tokens for variant in args.variants]
    for name in args.variants:
        parse_variant(name)  # a wrong name fails before anything runs
    on_gpu = torch.device(args.device).type == 'cuda'
    print(f'{torch.cuda.get_device_name() if on_gpu else "CPU"}, torch {torch.__version__}, {args.dtype}, {args.workers} at once\n')
    print(f'| variant | T | seed | {" | ".join(SHOWN.values())} |\n|{"---|" * (3 + len(SHOWN))}', flush=True)
    rows = []
    for (name, tokens, seed), row in results(tasks, args):
        if row is None:
            print(f'no time left for {name}, T {tokens}, seed {seed}', flush=True)
            continue
        rows.append(row)
        print(f'| {name} | {tokens} | {seed} | {" | ".join(f"{row[key]:.4g}" for key in SHOWN)} |', flush=True)
        if args.json:
            options = {key: str(value) for key, value in vars(args).items()}
            args.json.write_text(json.dumps(dict(options=options, rows=rows), indent=1) + '\n')


if __name__ == '__main__':
    main()
