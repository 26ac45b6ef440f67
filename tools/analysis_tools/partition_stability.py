"""How a tokenizer's partition moves when the image hardly does.

    python tools/analysis_tools/partition_stability.py DATA --split val --tokenizer tokenizer.pth --options compactness=0.01 --images 20

DATA holds images/SPLIT; the tokenizer is named as for eval_partition.py. Each image is changed a little, tokenized again, and the result,
turned or shifted back, compared with that of the image itself: the best-overlap agreement that docs/metrics.md defines, mean and least
over the images, and the mean number of regions. Noise is drawn anew for each image from a fixed seed.
"""

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mmengine.utils import track_iter_progress
from PIL import Image
from torch import nn

from dht_mm.metrics import best_overlap_agreement
from dht_mm.visualization import read_image

sys.path.append(str(Path(__file__).resolve().parents[1]))
from annotated_images import find_images  # noqa: E402
from eval_partition import add_options, build_tokenizer, check_positive  # noqa: E402
from tokenize_image import tokenize  # noqa: E402

MARGIN = 8  # pixels that a crop takes off each side
Change = Callable[[np.ndarray], np.ndarray]


def same(values: np.ndarray) -> np.ndarray:
    return values


def flip(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values[:, ::-1])


def crop(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values[MARGIN:-MARGIN, MARGIN:-MARGIN])


def brighter(levels: int) -> Change:
    """All pixels lighter by so many levels, or darker by a negative number."""
    return lambda image: (image.astype(int) + levels).clip(0, 255).astype(np.uint8)


def noise(deviation: float) -> Change:
    """Gaussian noise of so many levels, the same for every image of a size."""
    return lambda image: np.rint(image + np.random.default_rng(0).normal(0, deviation, image.shape)).clip(0, 255).astype(np.uint8)


def jpeg(quality: int) -> Change:
    """Compressed by Pillow and read again."""
    def change(image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format='JPEG', quality=quality)
        return np.array(Image.open(file))
    return change


# What is done to the image, to the labels that this gives, and to the labels of the image itself, before these two are compared.
CHANGES: dict[str, tuple[Change, Change, Change]] = {
    'one level lighter': (brighter(1), same, same),
    'one level darker': (brighter(-1), same, same),
    'noise of 1 level': (noise(1), same, same),
    'noise of 5 levels': (noise(5), same, same),
    'JPEG, quality 95': (jpeg(95), same, same),
    'JPEG, quality 75': (jpeg(75), same, same),
    'flipped left to right': (flip, flip, same),
    f'{MARGIN} pixels cut off': (crop, same, crop),
}


def compare(tokenizer: nn.Module, image: np.ndarray, device: str) -> list[tuple[float, int]]:
    """Agreement and number of regions under each change, after those of the image itself."""
    def labels_of(changed: np.ndarray) -> np.ndarray:
        return tokenize(tokenizer, changed, device).labels[0].numpy()

    own = labels_of(image)
    rows = [(1.0, int(own.max()) + 1)]
    for change, turn_back, to_compare in CHANGES.values():
        labels = labels_of(change(image))
        rows.append((best_overlap_agreement(turn_back(labels), to_compare(own)), int(labels.max()) + 1))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table of all changes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    args = parser.parse_args(argv)
    check_positive(parser, args)
    try:
        images = [read_image(sample.image) for sample in find_images(args.data, args.split, args.images)]
        tokenizer = build_tokenizer(args)
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        parser.error(str(error))
    if small := [image.shape[:2] for image in images if min(image.shape[:2]) <= 2 * MARGIN]:
        parser.error(f'images must have more than {2 * MARGIN} rows and columns, got {small[0]}')
    table = np.array([compare(tokenizer, image, args.device) for image in track_iter_progress(images, file=sys.stderr)])
    print(file=sys.stderr)
    print(f'{len(images)} images\n\n| change | agreement | least | regions |\n|---|---|---|---|')
    for name, mean, least in zip(['none', *CHANGES], table.mean(0), table.min(0), strict=True):
        print(f'| {name} | {mean[0]:.3f} | {least[0]:.3f} | {mean[1]:.0f} |')
    return 0


if __name__ == '__main__':
    sys.exit(main())
