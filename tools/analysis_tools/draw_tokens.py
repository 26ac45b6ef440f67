"""Draw the tokens that a model gives the regions of images: principal components, norms, and attention.

    python tools/analysis_tools/draw_tokens.py config.py model.pth PHOTOS other.jpg --out-dir pictures --block -1

A folder stands for the images in it. For each image NAME it writes NAME_tokens.png: the three main components of the block's tokens as
colours, their norms, and the block's attention, mean over heads, from the class token and from the region at --point. Every pixel carries
its region's value. --heads also writes NAME_heads.png, the attention of each head from the class token (without one, from --point). The
config's model must have a dht_mm.DHTViT as its backbone. Files that cannot be read are named and skipped; the exit code is then 1.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.utils import track_iter_progress

from dht_mm.backbones import DHTViT
from dht_mm.registry import MODELS
from dht_mm.tokenizer.checkpoint import read_state_dict
from dht_mm.visualization import draw_heads, draw_tokens, read_image, save_png

sys.path.append(str(Path(__file__).resolve().parents[1]))
from annotated_images import list_images  # noqa: E402
from tokenize_image import IMAGENET_MEAN, IMAGENET_STD, output_names, resize  # noqa: E402

OUTPUTS = ('_tokens.png', '_heads.png')
PREFIX = 'backbone.'


def parse_args(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """The options, and the parser for later complaints about them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', type=Path, metavar='CONFIG')
    parser.add_argument('checkpoint', type=Path, metavar='CHECKPOINT', help='weights of the model or of its backbone')
    parser.add_argument('images', nargs='+', type=Path, metavar='IMAGE|FOLDER')
    parser.add_argument('--out-dir', type=Path, required=True, help='folder for the pictures; made if it is not there')
    parser.add_argument('--block', type=int, default=-1, help='number of the block, from the end if negative (default: %(default)s)')
    parser.add_argument('--point', type=int, nargs=2, metavar=('Y', 'X'), help="pixel of the region to attend from (default: the middle)")
    parser.add_argument('--heads', action='store_true', help='also the attention of each head')
    parser.add_argument('--size', type=int, metavar='PIXELS', help='resize the longer side to this first')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args(argv)
    if args.size is not None and args.size < 1:
        parser.error(f'--size must be at least 1, got {args.size}')
    return args, parser


def load_backbone(config: Config, checkpoint: Path) -> DHTViT:
    """The backbone of a model with its weights, in evaluation mode."""
    backbone = MODELS.build(config.model.backbone)
    if not isinstance(backbone, DHTViT):
        raise ValueError(f'CONFIG must have a dht_mm.DHTViT as its backbone, got a {type(backbone).__name__}')
    weights = read_state_dict(checkpoint)
    if any(key.startswith(PREFIX) for key in weights):
        weights = {key.removeprefix(PREFIX): value for key, value in weights.items() if key.startswith(PREFIX)}
    try:
        backbone.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f'CHECKPOINT must hold the weights of the backbone, but {checkpoint} does not: {error}') from error
    return backbone.eval()


def normalizer(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the config's preprocessor, in levels from 0 to 255; ImageNet's where it has none."""
    settings = config.model.get('data_preprocessor') or config.get('data_preprocessor') or {}
    defaults = dict(mean=[255 * value for value in IMAGENET_MEAN], std=[255 * value for value in IMAGENET_STD])
    mean, std = (np.asarray(settings.get(name) or default, dtype=np.float32) for name, default in defaults.items())
    return mean, std


@torch.inference_mode()
def draw(backbone: DHTViT, scale: tuple[np.ndarray, np.ndarray], path: Path, stem: Path, args: argparse.Namespace) -> None:
    """Write the pictures of one image, at ``stem`` followed by ``OUTPUTS``."""
    image = resize(read_image(path), args.size)
    inputs = torch.from_numpy((image - scale[0]) / scale[1]).permute(2, 0, 1)[None].to(args.device)
    tokens, heads = (stem.with_name(stem.name + suffix) for suffix in OUTPUTS)
    save_png(tokens, draw_tokens(image, backbone, inputs, args.block, args.point and tuple(args.point)))
    if args.heads:
        save_png(heads, draw_heads(image, backbone, inputs, args.block, args.point and tuple(args.point)))


def main(argv: Sequence[str] | None = None) -> int:
    """Draw every image; the exit code says whether all could be read."""
    args, parser = parse_args(argv)
    try:
        images, config = list_images(args.images), Config.fromfile(args.config)
        backbone, scale = load_backbone(config, args.checkpoint).to(args.device), normalizer(config)
        if not -backbone.num_layers <= args.block < backbone.num_layers:
            raise ValueError(f'--block must name one of the {backbone.num_layers} blocks, got {args.block}')
        args.out_dir.mkdir(parents=True, exist_ok=True)
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        parser.error(str(error))
    done = 0
    for path, name in track_iter_progress(list(zip(images, output_names(images, args.out_dir, OUTPUTS), strict=True)), file=sys.stderr):
        try:
            draw(backbone, scale, path, args.out_dir / name, args)
            done += 1
        except (FileNotFoundError, ValueError) as error:
            print(f'\n{path}: skipped, {error}', file=sys.stderr)
    print(file=sys.stderr)
    print(f'{done} of {len(images)} images drawn; in {args.out_dir}: NAME' + ', NAME'.join(OUTPUTS[:1 + args.heads]))
    return 0 if done == len(images) else 1


if __name__ == '__main__':
    sys.exit(main())
