"""Train dHT-ViT-S and a plain ViT-S from scratch on Imagenette the same way, with the same mean number of tokens.

    python benchmarks/classification/imagenette.py --data imagenette2_128.zip --tokenizer TOKENIZER.pth \\
        --variants plain hard:box hard:box+gradient hard:box+gradient:e2e spread:window+mask:e2e --seeds 0 --json imagenette.json

The archive has FOLDER/train/CLASS/*.JPEG and FOLDER/val/CLASS/*.JPEG, square and all of one size. A variant is named PARTITION:CONTENT,
see benchmarks/experiments/variants.py; its tokenizer is trained along where the name ends in `:e2e`. Reported are accuracy and that of 20
nearest neighbours on class tokens, with cosine similarity, both on val; --json has the accuracy after every --every epochs too.
"""

import argparse
import io
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[1] / 'experiments'))
from augmentation import augment, normalise  # noqa: E402
from partitions import build_tokenizer  # noqa: E402
from pool import add_options, autocast, run_all, wait  # noqa: E402
from recipe import build_optimizer, set_rate, shuffled  # noqa: E402
from region_vit import RegionViT  # noqa: E402
from variants import Variant, parse_variant  # noqa: E402

from dht_mm.backbones import DHTViT  # noqa: E402
from dht_mm.heads.knn_classifier import vote  # noqa: E402
from dht_mm.tokenizer import DHTTokenizer  # noqa: E402
from dht_mm.tokenizer.checkpoint import load_tokenizer  # noqa: E402

CROP_AREA, CROP_RATIO, COLOUR = (0.35, 1.0), (0.75, 1.33), 0.4
WARMUP_SHARE, DROP_PATH, SMOOTHING = 0.1, 0.1, 0.1
NEIGHBOURS, TEMPERATURE = 20, 0.07
EVALUATED = 2  # batches at once in evaluation
PIXELS_A_REGION = 5  # no batch has as many regions as one for so many pixels
SHOWN = dict(accuracy='accuracy', knn='20-NN', tokens='tokens', ms_per_step='ms/step', epochs_done='epochs')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='the archive')
    parser.add_argument('--tokenizer', type=Path, help='weights of a dHT tokenizer; without, they are random')
    parser.add_argument('--variants', nargs='+', default=['plain'], metavar='NAME')
    parser.add_argument('--arch', default='small', help='capacity of the ViT (default: small)')
    parser.add_argument('--patch', type=int, default=16, help='side of the patches, whose number is that of tokens (default: 16)')
    parser.add_argument('--epochs', type=int, default=100)
    parser.add_argument('--batch', type=int, default=128)
    parser.add_argument('--lr', type=float, default=1e-3)
    parser.add_argument('--weight-decay', type=float, default=0.05)
    parser.add_argument('--every', type=int, default=10, help='epochs between points of the curve (default: %(default)s)')
    parser.add_argument('--eager', action='store_true', help='launch every kernel from the host: without CUDA graphs')
    parser.add_argument('--run-limit', type=float, default=float('inf'), help='seconds after which a run ends with its epoch')
    add_options(parser)
    return parser.parse_args()


def load_split(archive: Path, split: str, device: str) -> tuple[Tensor, Tensor]:
    """``[N, 3, H, W]`` uint8 images and ``[N]`` int64 classes, in the order of their names."""
    with zipfile.ZipFile(archive) as files, ThreadPoolExecutor() as pool:
        names = sorted(name for name in files.namelist() if f'/{split}/' in name and name.lower().endswith('.jpeg'))
        if not names:
            raise SystemExit(f'--data must have FOLDER/{split}/CLASS/*.JPEG, but {archive} has none')
        pixels = list(pool.map(lambda data: np.asarray(Image.open(io.BytesIO(data)).convert('RGB')), map(files.read, names)))
    classes = sorted({Path(name).parent.name for name in names})
    labels = torch.tensor([classes.index(Path(name).parent.name) for name in names])
    return torch.from_numpy(np.stack(pixels)).to(device).movedim(-1, 1).contiguous(), labels.to(device)


class Classifier(RegionViT):
    """Images to logits of classes, from the class token."""

    def __init__(self, variant: Variant, size: int, num_classes: int, args: argparse.Namespace):
        grid = (size // args.patch,) * 2
        room = None if args.eager else EVALUATED * args.batch * size**2 // PIXELS_A_REGION
        tokenizer = build_tokenizer(variant.partition, grid, variant.numbers.get(variant.partition), room)
        if isinstance(tokenizer, DHTTokenizer) and args.tokenizer:
            load_tokenizer(tokenizer, args.tokenizer)
        backbone = DHTViT(tokenizer, args.arch, size, args.patch, out_type='tokens', drop_path_rate=DROP_PATH)
        super().__init__(variant, grid, backbone, from_zero=False, graphs=not args.eager)
        self.head = nn.Linear(backbone.embed_dims, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[B, 3, H, W]`` to logits ``[B, K]``, class tokens ``[B, D]`` and numbers of other tokens ``[B]``, -1 without room."""
        cls_tokens, regions, scene = self.tokens(images)
        counts = cls_tokens.new_full((len(images),), len(regions) // len(images)) if scene is None else scene.partition.num_regions
        logits = self.head(cls_tokens)
        return logits.masked_fill(counts[:, None] < 0, torch.nan), cls_tokens, counts


def cut_and_mix(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, float]:
    """Paste a box of other images into a batch (Yun et al., 2019, CutMix): images, the others' labels, the others' share."""
    height, width = images.shape[2:]
    order, side = torch.randperm(len(images), device=images.device), (1 - np.random.beta(1, 1))**0.5
    centre = np.random.rand(2)
    top, left = (int(max(0, (at - side / 2) * length)) for at, length in zip(centre, (height, width), strict=True))
    bottom, right = (int(min(length, (at + side / 2) * length)) for at, length in zip(centre, (height, width), strict=True))
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
    return mixed, labels[order], (bottom - top) * (right - left) / (height * width)


@torch.inference_mode()
def features(model: Classifier, images: Tensor, args: argparse.Namespace) -> tuple[Tensor, Tensor, float]:
    """Logits ``[N, K]``, class tokens of length 1 ``[N, D]``, mean number of the other tokens."""
    model.eval()
    logits, tokens, count = [], [], 0
    for pixels in images.split(EVALUATED * args.batch):
        with autocast(args):
            scores, cls_tokens, numbers = model.replay(model, normalise(pixels.float() / 255))
        logits.append(scores.float())
        tokens.append(F.normalize(cls_tokens.float(), dim=1))
        count += int(numbers.sum())
    return torch.cat(logits), torch.cat(tokens), count / len(images)


class Runner:
    """Trains and scores variants on data that is loaded once."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.train, self.val = (load_split(args.data, split, args.device) for split in ('train', 'val'))
        self.num_classes = int(self.train[1].max()) + 1

    def __call__(self, task: tuple[str, int]) -> dict:
        """The figures of a variant and a seed."""
        name, seed = task
        torch.manual_seed(seed)
        np.random.seed(seed)
        model = Classifier(parse_variant(name), self.train[0].shape[-1], self.num_classes, self.args).to(self.args.device)
        figures = self._train(model)
        logits, tokens, count = features(model, self.val[0], self.args)
        known = features(model, self.train[0], self.args)[1]
        votes = vote(tokens @ known.T, self.train[1], self.num_classes, NEIGHBOURS, TEMPERATURE)
        scores = dict(accuracy=self._accuracy(logits), knn=self._accuracy(votes), tokens=count)
        return figures | scores

    def _accuracy(self, scores: Tensor) -> float:
        return 100 * (scores.argmax(1) == self.val[1]).float().mean().item()

    def _train(self, model: Classifier) -> dict:
        """Train in place: milliseconds a step, epochs, and the curve ``[epoch, accuracy, loss]``."""
        args, (images, labels) = self.args, self.train
        optimizer = build_optimizer(model, args.lr, 1.0, args.weight_decay)
        per_epoch = max(1, len(images) // args.batch)
        batches = shuffled(len(images), args.epochs * per_epoch, args.batch, images.device).unflatten(0, (args.epochs, per_epoch))
        curve, seconds, start = [], 0.0, time.time()
        for epoch, chosen in enumerate(batches):
            model.train()
            begin, losses = wait(args), []
            for index, batch in enumerate(chosen):
                set_rate(optimizer, epoch * per_epoch + index, args.epochs * per_epoch, WARMUP_SHARE)
                losses.append(self._step(model, images[batch], labels[batch], optimizer))
            seconds += wait(args) - begin
            late = time.time() - start > args.run_limit
            if late or (epoch + 1) % args.every == 0 or epoch + 1 == args.epochs:
                accuracy = self._accuracy(features(model, self.val[0], args)[0])
                curve.append([epoch + 1, accuracy, torch.stack(losses).mean().item()])
            if late:
                break
        return dict(ms_per_step=1e3 * seconds / ((epoch + 1) * per_epoch), epochs_done=epoch + 1, curve=curve)

    def _step(self, model: Classifier, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        pixels, _ = augment(images, None, CROP_AREA, CROP_RATIO, COLOUR)
        pixels, others, share = cut_and_mix(pixels, labels)
        with autocast(self.args):
            logits = model.replay(model, pixels)[0].float()
        loss, other = (F.cross_entropy(logits, classes, label_smoothing=SMOOTHING) for classes in (labels, others))
        loss = (1 - share) * loss + share * other
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()


def main() -> None:
    args = parse_args()
    for name in args.variants:
        parse_variant(name)  # a wrong name fails before anything runs
    run_all(('variant', 'seed'), [(variant, seed) for seed in args.seeds for variant in args.variants], Runner, SHOWN, args)


if __name__ == '__main__':
    main()
