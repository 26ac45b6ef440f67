"""Fine-tune a plain ViT and dHT-ViTs on CamVid the same way, with the same number of tokens, and compare their masks.

    python benchmarks/segmentation/pack_camvid.py --data DATA/camvid --vit VIT.pth --out FOLDER
    python benchmarks/segmentation/camvid.py --data FOLDER/camvid.npz --vit FOLDER/vit.npz --tokenizer TOKENIZER.pth \\
        --variants plain spread:window:mix spread:window:mix:e2e --tokens 300 --seeds 0 --json camvid.json

A variant is named PARTITION:CONTENT:DECODE, see variants.py: which regions, what a token sees of its own, and how pixels get their
logits. `plain` is the plain ViT, a linear map of its patches interpolated bilinearly. Images are 360 x 480; the plain ViT sees them
resized to whole patches. Each run prints its row when it ends.

A name may end in @OPTION=VALUE,OPTION=VALUE for a run with other options of training, as in plain@colour=0,new-lr=10.

On a GPU a step's forward and backward are replayed from a CUDA graph. Several runs at once (--workers) slow one another; measure times with
one worker.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / 'experiments'))
from packing import load_images, load_weights  # noqa: E402
from pool import add_options, run_all  # noqa: E402
from scoring import evaluate  # noqa: E402
from segmenter import Segmenter  # noqa: E402
from training import train  # noqa: E402
from variants import Variant, parse_variant  # noqa: E402

GRIDS = {154: (11, 14), 300: (15, 20), 588: (21, 28), 1200: (30, 40)}
NUM_CLASSES = 11
PIXELS_A_REGION, LEAST_ROOM = 20, 8  # no natural partition of a photograph has so many regions, or a budget so much to merge
DRIVES = {'0001TP': slice(0, 62), '0006R0': slice(62, 163), '0016E5': slice(163, 367)}  # training images in the order of their names
CHANGEABLE = ('epochs', 'batch', 'lr', 'layer_decay', 'weight_decay', 'new_lr', 'decode_lr', 'crop', 'colour', 'stride', 'loss',
              'eval_split')
LOSSES = ('pixel', 'focal')
SPLITS = ('val', *DRIVES, 'test')
SHOWN = dict(miou='mIoU', trimap_1='1 px', trimap_3='3 px', trimap_5='5 px', boundary='boundary', oracle='ceiling', tokens='tokens',
             ms_per_step='ms/step', images_per_s='images/s')

Data = tuple[torch.Tensor, torch.Tensor]  # images and labels


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='file of pack_camvid.py')
    parser.add_argument('--vit', type=Path, required=True, help='file of pack_camvid.py')
    parser.add_argument('--tokenizer', help='weights of a dHT tokenizer, a file or dht_mm://tokenizer_c001; without, they are random')
    parser.add_argument('--variants', nargs='+', default=['plain'], metavar='NAME')
    parser.add_argument('--tokens', nargs='+', type=int, choices=list(GRIDS), default=[300], help='mean number (default: 300)')
    parser.add_argument('--epochs', type=int, default=40)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--lr', type=float, default=1e-4)
    parser.add_argument('--layer-decay', type=float, default=0.85)
    parser.add_argument('--weight-decay', type=float, default=0.05)
    parser.add_argument('--new-lr', type=float, default=1.0, help='factor of the rate of what is not pretrained (default: 1)')
    parser.add_argument('--decode-lr', type=float, default=1.0, help='a further factor of that of the decode (default: 1)')
    parser.add_argument('--crop', type=float, default=0.5, help='least share of its area that is cut from an image (default: %(default)s)')
    parser.add_argument('--colour', type=float, default=0.2, help='strength of the colour jitter (default: %(default)s)')
    parser.add_argument('--stride', type=int, default=4, help='of the pixels that the loss is taken at (default: %(default)s)')
    parser.add_argument('--loss', choices=LOSSES, default='pixel',
                        help="pixel: cross entropy of the decoded pixels; focal: the paper's loss of regions, for `paint` (default: pixel)")
    parser.add_argument('--eager', action='store_true', help='launch every kernel from the host: without CUDA graphs')
    parser.add_argument('--eval-split', choices=SPLITS, default='test',
                        help='a drive: train without that one of train, and score on it; choose by drives, report test (default: test)')
    parser.add_argument('--train-images', type=int, help='at most so many')
    parser.add_argument('--test-images', type=int, help='at most so many')
    add_options(parser)
    return parser.parse_args()


def with_options(name: str, args: argparse.Namespace) -> tuple[Variant, argparse.Namespace]:
    """The variant of a name and its options, which the name may change.

    Raises:
        ValueError: The name has another form, or changes what is not a number of :func:`parse_args`.
    """
    variant, _, changes = name.partition('@')
    options = dict(vars(args))
    for option, _, value in (change.partition('=') for change in changes.split(',') if change):
        key = option.replace('-', '_')
        if key not in CHANGEABLE:
            raise ValueError(f'variant must change one of {CHANGEABLE} after @, got {option!r} in {name!r}')
        options[key] = type(options[key])(value)
    for key, known in dict(eval_split=SPLITS, loss=LOSSES).items():
        if options[key] not in known:
            raise ValueError(f'{key.replace("_", "-")} must be one of {known}, got {options[key]!r} in {name!r}')
    return parse_variant(variant), argparse.Namespace(**options)


def _at_most(data: Data, most: int | None) -> Data:
    """Every n-th where fewer are asked for."""
    step = -(-len(data[0]) // most) if most else 1
    return tuple(part[::step] for part in data)


def _without(data: Data, drive: slice) -> tuple[Data, Data]:
    """The training's images but for one drive, and those of that drive."""
    images = len(data[0])
    if images != DRIVES['0016E5'].stop:
        raise SystemExit(f'--data must have the training images of CamVid to leave out a drive, but has {images}')
    return tuple(torch.cat([part[:drive.start], part[drive.stop:]]) for part in data), tuple(part[drive] for part in data)


class Runner:
    """Trains and scores variants on data that is loaded once."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.vit = args, load_weights(args.vit)
        self.loaded: dict[str, Data] = {}

    def data(self, split: str) -> tuple[Data, Data]:
        """What to train on and what to score on."""
        train = self._load('train')
        parts = _without(train, DRIVES[split]) if split in DRIVES else (train, self._load(split))
        return tuple(_at_most(*part) for part in zip(parts, (self.args.train_images, self.args.test_images), strict=True))

    def _load(self, split: str) -> Data:
        """A split's images and labels, read once."""
        if split not in self.loaded:
            self.loaded[split] = load_images(self.args.data, split, self.args.device)
        return self.loaded[split]

    def __call__(self, task: tuple[str, int, int]) -> dict:
        """The figures of a variant, a number of tokens and a seed."""
        name, tokens, seed = task
        variant, args = with_options(name, self.args)
        train_on, score_on = self.data(args.eval_split)
        torch.manual_seed(seed)
        most = max(train_on[0][0, 0].numel() // PIXELS_A_REGION, LEAST_ROOM * tokens)
        room = None if args.eager or args.loss == 'focal' else args.batch * most  # that loss checks its labels, and waits
        model = Segmenter(variant, GRIDS[tokens], self.vit, args.tokenizer, NUM_CLASSES, room).to(args.device)
        figures = train(model, *train_on, args) | evaluate(model, *score_on, NUM_CLASSES, args)
        return figures | dict(kernel=model.decode.learned_kernel())


def main() -> None:
    args = parse_args()
    for name in args.variants:
        with_options(name, args)  # a wrong name fails before anything runs
    tasks = [(variant, tokens, seed) for seed in args.seeds for tokens in args.tokens for variant in args.variants]
    run_all(('variant', 'T', 'seed'), tasks, Runner, SHOWN, args)


if __name__ == '__main__':
    main()
