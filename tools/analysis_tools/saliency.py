"""Salient objects without labels: TokenCut on the region tokens of a dHT-ViT, scored where there are masks.

    python tools/analysis_tools/saliency.py DATA --config model.py --checkpoint model.pth --out-dir saliency
    python tools/analysis_tools/saliency.py ECSSD --config model.py --checkpoint vit.pth --tokenizer-checkpoint tokenizer.pth

DATA is the folder of ECSSD (images, ground_truth_mask), DUTS (DUTS-TE-Image, DUTS-TE-Mask), DUT-OMRON (DUT-OMRON-image,
pixelwiseGT-new-PNG), or one of images alone. The config is any with a `DHTViT` in it; its weights are those of a backbone or of a model.
The tokens of each image are cut in two by a normalized cut on the cosines of the last attention's keys, and every region is painted as a
whole. The defaults are those of the method's authors for DINO; other networks want another --block and --threshold. It prints max
F-measure (β² = 0.3), IoU and accuracy. In --out-dir it writes NAME_saliency.png (grey), NAME_mask.png and scores.csv, one line an image.
Files that cannot be read are named and skipped; the exit code is then 1.
"""

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config, DictAction
from mmengine.utils import track_iter_progress
from PIL import Image
from saliency_sets import SalientImage, find_salient_images
from torch import Tensor, nn

from dht_mm.metrics import SaliencyMetric
from dht_mm.registry import MODELS
from dht_mm.saliency import Saliency, paint_saliency, region_keys
from dht_mm.tokenizer.checkpoint import load_tokenizer, read_state_dict
from dht_mm.visualization import atomic_file, read_image

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tokenize_image import normalize, resize  # noqa: E402

MAY_BE_MISSING = ('tokenizer.', 'features.pixels.', 'embedding.form_embed.')  # of a converted plain ViT


def parse_args(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """The options, and the parser for later complaints about them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, metavar='DATA')
    parser.add_argument('--config', type=Path, required=True, help='a config with a DHTViT as the model\'s backbone')
    parser.add_argument('--checkpoint', type=Path, help='weights of the backbone, alone or in a model (default: what init_cfg names)')
    parser.add_argument('--tokenizer-checkpoint', type=Path, metavar='FILE', help='weights of the tokenizer, where they are others')
    parser.add_argument('--options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE', help='arguments of the backbone')
    parser.add_argument('--token-budget', type=int, metavar='T', help='the most regions of an image (default: as in the config)')
    parser.add_argument('--block', type=int, default=-1, help='whose attention\'s keys are taken; -1 is the last (default: %(default)s)')
    parser.add_argument('--threshold', type=float, default=0.2, help='cosine from which on tokens are similar (default: %(default)s)')
    parser.add_argument('--by-size', action='store_true', help='count pixels in the cut and not regions')
    parser.add_argument('--size', type=int, metavar='PIXELS', help='resize the longer side to this before (default: as it is)')
    parser.add_argument('--images', type=int, metavar='N', help='take at most N images, evenly from all')
    parser.add_argument('--out-dir', type=Path, help='folder for pictures and scores.csv; made if it is not there')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args(argv)
    for option in ('token_budget', 'size', 'images'):
        value = getattr(args, option)
        if value is not None and value < 1:
            parser.error(f'--{option.replace("_", "-")} must be at least 1, got {value}')
    return args, parser


def build_backbone(args: argparse.Namespace) -> nn.Module:
    """The backbone that the options ask for, with its weights, in evaluation mode."""
    config = Config.fromfile(args.config).get('model', {}).get('backbone', {})
    if config.get('type') not in ('DHTViT', 'dht_mm.DHTViT'):
        raise ValueError(f'--config must have a dht_mm.DHTViT as the backbone of its model, got {config.get("type")!r}')
    config = Config(dict(config) | dict(type='dht_mm.DHTViT', out_type='tokens', out_indices=-1))
    if args.token_budget is not None:
        config.tokenizer.token_budget = dict(mode='hard', test=args.token_budget)
    config.merge_from_dict(args.options)
    backbone = MODELS.build(config.to_dict())
    if not -backbone.num_layers <= args.block < backbone.num_layers:
        raise ValueError(f'--block must be one of the {backbone.num_layers} blocks, got {args.block}')
    if args.checkpoint is None:
        backbone.init_weights()
    else:
        load_backbone(backbone, args.checkpoint)
    if args.tokenizer_checkpoint is not None:
        load_tokenizer(backbone.tokenizer, args.tokenizer_checkpoint)
    return backbone.to(args.device).eval()


def load_backbone(backbone: nn.Module, path: Path) -> None:
    """Load weights of a backbone, alone or in a model; what a plain ViT does not have may be missing."""
    found = read_state_dict(path)
    prefix = 'backbone.' if any(key.startswith('backbone.') for key in found) else ''
    weights = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    result = backbone.load_state_dict(weights, strict=False)
    missing = [key for key in result.missing_keys if not key.startswith(MAY_BE_MISSING)]
    if missing or prefix and result.unexpected_keys:
        raise ValueError(f'--checkpoint must hold the weights of this backbone, but {path} lacks {missing} and adds '
                         f'{result.unexpected_keys}')


def find_salient(backbone: nn.Module, image: np.ndarray, args: argparse.Namespace) -> tuple[Saliency, int]:
    """Saliency ``[H, W]`` of one ``[H, W, 3]`` uint8 image, on the CPU, and the number of its regions."""
    keys, partition = region_keys(backbone, normalize(resize(image, args.size), args.device), args.block)
    painted = paint_saliency(keys, partition, args.by_size, args.threshold)
    values, foreground = (to_size(field.float(), image.shape[:2]).cpu() for field in painted)
    return Saliency(values, foreground > 0), partition.total_regions


def to_size(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """``[1, h, w]`` as ``[H, W]``, by the nearest pixel, so that a region stays of one value."""
    return F.interpolate(maps[None], shape, mode='nearest-exact')[0, 0]


def score(saliency: Saliency, truth: np.ndarray, metric: SaliencyMetric) -> dict[str, float]:
    """The scores of one image, which are added to the metric too."""
    maps = dict(pred_saliency=saliency.values, pred_sem_seg=saliency.foreground.long(), gt_sem_seg=torch.from_numpy(truth).long())
    metric.process({}, [{name: dict(data=value[None]) for name, value in maps.items()}])
    return metric.compute_metrics(metric.results[-1:])


def run(backbone: nn.Module, sample: SalientImage, args: argparse.Namespace, metric: SaliencyMetric) -> dict[str, float]:
    """Find what is salient in one image, write and score it."""
    image = read_image(sample.image)
    truth = sample.read_mask(image.shape[:2])
    start = time.perf_counter()
    saliency, regions = find_salient(backbone, image, args)
    row = dict(regions=regions, seconds=time.perf_counter() - start)
    if args.out_dir is not None:
        write_grey(args.out_dir / f'{sample.image.stem}_saliency.png', saliency.values)
        write_grey(args.out_dir / f'{sample.image.stem}_mask.png', saliency.foreground)
    return row if truth is None else row | score(saliency, truth, metric)


def write_grey(path: Path, values: Tensor) -> None:
    """``[H, W]`` in [0, 1] as a grey picture."""
    with atomic_file(path) as file:
        Image.fromarray((255 * values.double()).round().byte().numpy()).save(file, format='PNG')


def write_csv(path: Path, rows: dict[str, dict[str, float]]) -> None:
    """One line an image."""
    text, names = StringIO(newline=''), [*next(iter(rows.values()))]
    writer = csv.writer(text, lineterminator='\n')
    writer.writerows([['image', *names], *([image, *(row[name] for name in names)] for image, row in rows.items())])
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Do every image; the exit code says whether all could be read."""
    args, parser = parse_args(argv)
    try:
        samples = find_salient_images(args.data, args.images)
        backbone = build_backbone(args)
        if args.out_dir is not None:
            args.out_dir.mkdir(parents=True, exist_ok=True)
    except (ValueError, TypeError, KeyError, OSError, ImportError, RuntimeError) as error:
        parser.error(str(error))
    rows, metric = {}, SaliencyMetric()
    for sample in track_iter_progress(samples, file=sys.stderr):
        try:
            rows[sample.image.name] = run(backbone, sample, args, metric)
        except (TypeError, ValueError) as error:
            print(f'\n{sample.image}: skipped, {error}', file=sys.stderr)
    print(file=sys.stderr)
    if rows:
        print(f'{len(rows)} images, {sum(row["regions"] for row in rows.values()) / len(rows):.1f} regions each')
        for name, value in metric.compute_metrics(metric.results).items() if metric.results else ():
            print(f'{name:10}{value:6.1f}')
    if rows and args.out_dir is not None:
        write_csv(args.out_dir / 'scores.csv', rows)
    return 0 if len(rows) == len(samples) else 1


if __name__ == '__main__':
    sys.exit(main())
