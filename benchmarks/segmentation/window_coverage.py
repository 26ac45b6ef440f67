"""How much of the images tokens see, and how well their regions could be labelled.

    python benchmarks/segmentation/window_coverage.py --data camvid.npz --tokenizer dht_mm://tokenizer_c001 --partitions grid spread hard

For each partition: the mIoU if every region took its majority class; then, for each content that has windows (see variants.py), the
share of pixels that lie in any window, and in that of their own region. CamVid's val split, 300 tokens.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1] / 'experiments'))
from augmentation import normalise  # noqa: E402
from packing import IGNORED, load_images  # noqa: E402
from partitions import SnappedTokenizer, build_tokenizer  # noqa: E402
from windows import STEPS, Windows, find_windows  # noqa: E402

from dht_mm.metrics import ClassOverlap, class_overlap, region_majority  # noqa: E402
from dht_mm.tokenizer import DHTTokenizer  # noqa: E402
from dht_mm.tokenizer.checkpoint import load_tokenizer  # noqa: E402

GRID, PATCH, NUM_CLASSES = (15, 20), 14, 11


def seen(labels: Tensor, windows: Windows) -> tuple[float, float]:
    """Share of the pixels of ``[H, W]`` that lie in a window, and in that of their own region."""
    covered, own = torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels, dtype=torch.bool)
    for region, (top, left, bottom, right) in enumerate(windows.boxes().round().long().tolist()):
        covered[top:bottom, left:right] = True
        own[top:bottom, left:right] |= labels[top:bottom, left:right] == region
    return covered.float().mean().item(), own.float().mean().item()


@torch.inference_mode()
def measure(tokenizer: torch.nn.Module, images: Tensor, labels: Tensor) -> list[float]:
    """Ceiling, then both shares of each content, in per cent."""
    overlaps, shares = [], []
    for pixels, classes in zip(images.split(1), labels.long().split(1), strict=True):
        pixels, known = normalise(pixels.float() / 255), classes != IGNORED
        partition = tokenizer(pixels)
        overlaps.append(class_overlap(region_majority(partition.labels, classes, NUM_CLASSES, IGNORED)[known], classes[known], NUM_CLASSES))
        cells = tokenizer.cells(pixels) if isinstance(tokenizer, SnappedTokenizer) else partition
        shares.append([share for content in STEPS for share in seen(partition.labels[0], find_windows(cells, GRID, PATCH, content))])
    total = ClassOverlap(*(torch.stack(part).sum(0) for part in zip(*overlaps, strict=True)))
    return [total.mean_iou(), *(100 * torch.tensor(shares).mean(0)).tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='file of pack_camvid.py')
    parser.add_argument('--tokenizer', required=True, help='weights of a dHT tokenizer')
    parser.add_argument('--partitions', nargs='+', default=['grid', 'spread', 'hard'])
    parser.add_argument('--images', type=int, default=12, help='so many, evenly spaced (default: %(default)s)')
    args = parser.parse_args()
    images, labels = load_images(args.data, 'val', 'cpu')
    step = -(-len(images) // args.images)
    titles = [f'{content}: {share}' for content in STEPS for share in ('any', 'own')]
    print(f'| partition | ceiling | {" | ".join(titles)} |\n|{"---|" * (2 + len(titles))}')
    for name in args.partitions:
        tokenizer = build_tokenizer(name, GRID).eval()
        if isinstance(tokenizer, DHTTokenizer):
            load_tokenizer(tokenizer, args.tokenizer)
        print(f'| {name} | {" | ".join(f"{value:.1f}" for value in measure(tokenizer, images[::step], labels[::step]))} |', flush=True)


if __name__ == '__main__':
    main()
