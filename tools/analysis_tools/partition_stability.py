"""How a tokenizer's partition moves when the image hardly does.

    python tools/analysis_tools/partition_stability.py DATA --tokenizer tokenizer.pth --options compactness=0.01 --images 20 --out-dir moves

DATA holds images/SPLIT; the tokenizer is named as for eval_partition.py. Each image is changed a little, tokenized again, and the result,
turned or shifted back, compared with that of the image itself: the best-overlap agreement that docs/metrics.md defines, mean and least
over the images, and the mean number of regions. Noise is drawn anew for each image from a fixed seed. A DHTTokenizer is also given the
mirrored image with the mirrored features of the image itself: that the projection sees them differently is then left out, and what
moves is due to ties. In --out-dir it writes stability.csv, one line an image and change, and, where matplotlib is installed,
stability.png, the agreements of all images.
"""

import argparse
import copy
import io
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from mmengine.utils import track_iter_progress
from PIL import Image
from torch import Tensor, nn

from dht_mm.metrics import best_overlap_agreement
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.visualization import atomic_file, read_image

sys.path.append(str(Path(__file__).resolve().parents[1]))
from annotated_images import find_images  # noqa: E402
from eval_partition import add_options, build_tokenizer, check_positive, write_csv  # noqa: E402
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
MIRRORED = 'flipped with its features'


class MirroredProjection(nn.Module):
    """A projection that gives mirrored images the mirrored features of the images themselves."""

    def __init__(self, projection: nn.Module):
        super().__init__()
        self.projection = projection

    def forward(self, images: Tensor) -> Tensor:
        return self.projection(images.flip(-1)).flip(-1)


def mirrored_features(tokenizer: DHTTokenizer) -> DHTTokenizer:
    """A copy with the mirrored projection."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.projection = MirroredProjection(tokenizer.projection)
    return tokenizer


def compare(tokenizer: nn.Module, image: np.ndarray, device: str) -> list[dict]:
    """Agreement and number of regions under each change, after those of the image itself."""
    own = tokenize(tokenizer, image, device).labels[0].numpy()
    rows = [dict(change='none', agreement=1.0, regions=int(own.max()) + 1)]

    def add(name: str, tokenizer: nn.Module, change: Change, turn_back: Change, to_compare: Change) -> None:
        labels = tokenize(tokenizer, change(image), device).labels[0].numpy()
        agreement = best_overlap_agreement(turn_back(labels), to_compare(own))
        rows.append(dict(change=name, agreement=agreement, regions=int(labels.max()) + 1))

    for name, change in CHANGES.items():
        add(name, tokenizer, *change)
    if isinstance(tokenizer, DHTTokenizer):
        add(MIRRORED, mirrored_features(tokenizer), flip, flip, same)
    return rows


def plot(path: Path, rows: Sequence[dict], names: Sequence[str]) -> None:
    """The agreements of all images under each change: quartiles, range and outliers."""
    from matplotlib.figure import Figure  # without pyplot: no window system is asked for

    figure = Figure(figsize=(8, 4), layout='constrained')
    axes = figure.subplots()
    axes.boxplot([[row['agreement'] for row in rows if row['change'] == name] for name in names], orientation='horizontal')
    axes.set_yticks(range(1, len(names) + 1), names)
    axes.set(xlabel='best-overlap agreement', xlim=(0, 1.01))
    axes.invert_yaxis()
    with atomic_file(path) as file:
        figure.savefig(file, format='png', dpi=100)


def print_table(rows: Sequence[dict], names: Sequence[str]) -> None:
    """Means over images, and the least agreement."""
    print('| change | agreement | least | regions |\n|---|---|---|---|')
    for name in names:
        agreement, regions = np.array([(row['agreement'], row['regions']) for row in rows if row['change'] == name]).T
        print(f'| {name} | {agreement.mean():.3f} | {agreement.min():.3f} | {regions.mean():.0f} |')


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table of all changes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument('--out-dir', type=Path, help='folder for stability.csv and stability.png; made if it is not there')
    args = parser.parse_args(argv)
    check_positive(parser, args)
    try:
        samples = find_images(args.data, args.split, args.images)
        images = {sample.image.name: read_image(sample.image) for sample in samples}
        tokenizer = build_tokenizer(args)
        if args.out_dir is not None:
            args.out_dir.mkdir(parents=True, exist_ok=True)
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        parser.error(str(error))
    if small := [image.shape[:2] for image in images.values() if min(image.shape[:2]) <= 2 * MARGIN]:
        parser.error(f'images must have more than {2 * MARGIN} rows and columns, got {small[0]}')
    rows = [dict(image=name) | row for name, image in track_iter_progress(list(images.items()), file=sys.stderr)
            for row in compare(tokenizer, image, args.device)]
    names = list(dict.fromkeys(row['change'] for row in rows))
    print(file=sys.stderr)
    print(f'{len(images)} images\n')
    print_table(rows, names)
    if args.out_dir is not None:
        write_csv(args.out_dir / 'stability.csv', rows)
        if find_spec('matplotlib') is not None:
            plot(args.out_dir / 'stability.png', rows, names[1:])
    return 0


if __name__ == '__main__':
    sys.exit(main())
