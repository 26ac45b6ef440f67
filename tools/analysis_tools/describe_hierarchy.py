"""What a tokenizer's hierarchy looks like: its levels, how many regions each has and how they score, and which are selected.

    python tools/analysis_tools/describe_hierarchy.py DATA --split val --tokenizer tokenizer.pth --options compactness=0.01 --out-dir levels

DATA holds images/SPLIT; the tokenizer, a DHTTokenizer, is named as for eval_partition.py. It prints a table of the levels, from the pixels
(level 0) to the whole image: over the images that have the level, the mean number of its regions, of those that are selected from it, and
of the share of the pixels that these cover, and the quartiles of the scores (negative information criterion, the higher the better) of
all its regions and of the selected ones. All is before any token budget. In --out-dir it writes levels.csv, one line an image and level,
and, where matplotlib is installed, levels.png.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.utils import track_iter_progress

from dht_mm.ops import Hierarchy
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.visualization import atomic_file, read_image, selected_levels

sys.path.append(str(Path(__file__).resolve().parents[1]))
from annotated_images import find_images  # noqa: E402
from eval_partition import add_options, build_tokenizer, check_positive, write_csv  # noqa: E402
from tokenize_image import normalize  # noqa: E402

QUARTILES = 25, 50, 75


class Level(NamedTuple):
    """One level of the hierarchy of one image.

    Attributes:
        name: Its number; ``image`` for the whole image.
        scores: ``[n]``, the score of each of its regions.
        selected: ``[k]``, the score of each region of the result that is selected from it.
        share: Of the pixels, how many are in the selected ones.
    """

    name: str
    scores: np.ndarray
    selected: np.ndarray
    share: float

    def row(self) -> dict:
        """What the CSV says of it; quartiles of no scores are left out."""
        row = dict(level=self.name, regions=len(self.scores), selected=len(self.selected), share=self.share)
        for name, scores in (('score', self.scores), ('selected_score', self.selected)):
            if len(scores):
                row |= {f'{name}_{percent}': value for percent, value in zip(QUARTILES, np.percentile(scores, QUARTILES), strict=True)}
        return row


def levels_of(hierarchy: Hierarchy) -> list[Level]:
    """The levels of a hierarchy of one image, from the pixels up."""
    starts, num_pixels = hierarchy.level_starts.tolist(), hierarchy.labels.numel()
    pixels = np.full(num_pixels, -num_pixels**0.5)  # the score of a pixel is set, not measured
    scores = np.concatenate([pixels, hierarchy.node_score.cpu().numpy()])
    node, size, selected = hierarchy.node.cpu().numpy(), hierarchy.size.cpu().numpy(), selected_levels(hierarchy)
    levels = []
    for number, (start, stop) in enumerate(zip(starts, starts[1:], strict=False)):
        own = selected == number
        name = 'image' if number == len(starts) - 2 else str(number)
        levels.append(Level(name, scores[start:stop], scores[node[own]], size[own].sum() / num_pixels))
    return levels


def by_name(images: Sequence[Sequence[Level]]) -> dict[str, list[Level]]:
    """Levels of the same name of all images that have it, from the pixels up."""
    longest = max(images, key=len)  # every image has the levels of those with fewer
    return {level.name: [own for levels in images for own in levels if own.name == level.name] for level in longest}


def print_table(levels: dict[str, list[Level]]) -> None:
    """Counts and shares are means over the images that have the level; quartiles are those of all their regions."""
    print('| level | images | regions | selected | share | quartiles of scores | of selected ones |\n|---|---|---|---|---|---|---|')
    for name, found in levels.items():
        regions, selected, share = np.mean([(len(level.scores), len(level.selected), level.share) for level in found], 0)
        quartiles = [_quartiles(np.concatenate(scores)) for scores in _scores(found)]
        print(f'| {name} | {len(found)} | {regions:.0f} | {selected:.0f} | {share:.3f} | {" | ".join(quartiles)} |')


def _scores(levels: Sequence[Level]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [level.scores for level in levels], [level.selected for level in levels]


def _quartiles(scores: np.ndarray) -> str:
    return ', '.join(f'{value:.3g}' for value in np.percentile(scores, QUARTILES)) if len(scores) else ''


def plot(path: Path, levels: dict[str, list[Level]], counts: Sequence[int]) -> None:
    """Regions and share of each level, the spread of the scores, and the number of selected regions of the images."""
    from matplotlib.figure import Figure  # without pyplot: no window system is asked for

    figure = Figure(figsize=(12, 7), layout='constrained')
    (regions, share), (scores, numbers) = figure.subplots(2, 2)
    places = range(len(levels))
    regions.plot(places, [np.mean([len(level.scores) for level in found]) for found in levels.values()], marker='.', label='all')
    regions.plot(places, [np.mean([len(level.selected) for level in found]) for found in levels.values()], marker='.', label='selected')
    regions.set(title='regions, mean over images', yscale='log')
    share.bar(places, [np.mean([level.share for level in found]) for found in levels.values()])
    share.set(title='share of the pixels that are selected')
    for shift, color, label in ((-0.2, 'C0', 'all'), (0.2, 'C1', 'selected')):
        pooled = [np.concatenate(_scores(found)[label == 'selected']) for found in levels.values()]
        scores.boxplot(pooled, positions=[place + shift for place in places], widths=0.3, whis=(5, 95), showfliers=False,
                       patch_artist=True, boxprops=dict(facecolor=color), medianprops=dict(color='black'))
    scores.set_yscale('symlog', linthresh=1e-3)
    scores.set_title('scores: median, quartiles, 5 to 95 % (blue: all, orange: selected)')
    numbers.hist(counts, bins='auto')
    numbers.set(title='selected regions', xlabel='regions', ylabel='images')
    for axes in (regions, share, scores):
        axes.set_xticks(places, levels)
        axes.set_xlabel('level')
    regions.legend()
    with atomic_file(path) as file:
        figure.savefig(file, format='png', dpi=80)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table of the levels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument('--out-dir', type=Path, help='folder for levels.csv and levels.png; made if it is not there')
    args = parser.parse_args(argv)
    check_positive(parser, args)
    try:
        samples, tokenizer = find_images(args.data, args.split, args.images), build_tokenizer(args)
        if not isinstance(tokenizer, DHTTokenizer):
            raise TypeError(f'--tokenizer must be a DHTTokenizer, since others have no hierarchy, got {type(tokenizer).__name__}')
        images = {sample.image.name: read_image(sample.image) for sample in samples}
        if args.out_dir is not None:
            args.out_dir.mkdir(parents=True, exist_ok=True)
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        parser.error(str(error))
    found = {name: levels_of(tokenizer.hierarchy(normalize(image, args.device)))
             for name, image in track_iter_progress(list(images.items()), file=sys.stderr)}
    levels = by_name([*found.values()])
    print(file=sys.stderr)
    print(f'{len(images)} images\n')
    print_table(levels)
    if args.out_dir is not None:
        write_csv(args.out_dir / 'levels.csv', [dict(image=name) | level.row() for name, own in found.items() for level in own])
        if find_spec('matplotlib') is not None:
            plot(args.out_dir / 'levels.png', levels, [sum(len(level.selected) for level in own) for own in found.values()])
    return 0


if __name__ == '__main__':
    sys.exit(main())
