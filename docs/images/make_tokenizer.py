"""Makes the pictures of docs/tokenizer_explained.md, and the photograph that docs/get_started.md takes.

    python docs/images/make_tokenizer.py CHECKPOINT

CHECKPOINT holds a tokenizer, for instance the published one after tools/model_converters/dht_reference_to_mm.py. The photograph is
skimage.data.coffee(), CC0 by its photographer Rachel Michetti.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

from dht_mm.ops import Hierarchy
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer
from dht_mm.visualization import draw_borders, paint_labels, paint_mean_color, panel_strip, save_png, stack_strips, upscale

HERE = Path(__file__).resolve().parent
SIZE = (240, 160)  # width and height in pixels
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
COMPACTNESS = 0.01  # of the published weights
SHOWN_LEVELS = (1, 2, 3, 4, 5, 6)
BUDGETS = (200, 100)
SCALE = 2


def normalise(image: np.ndarray) -> torch.Tensor:
    """``[1, 3, H, W]`` of ``[H, W, 3]`` uint8."""
    return ((torch.from_numpy(image) / 255 - MEAN) / STD).permute(2, 0, 1)[None]


def level_maps(hierarchy: Hierarchy) -> list[np.ndarray]:
    """``[H, W]`` for each level from 0: the region of each pixel there, as the index of its node."""
    nodes = torch.arange(hierarchy.labels.numel())
    maps = []
    for _ in hierarchy.level_starts[:-2]:
        maps.append(nodes.view(hierarchy.labels.shape[1:]).numpy())
        nodes = hierarchy.parent[nodes].long()
    return maps


def selected_levels(hierarchy: Hierarchy) -> np.ndarray:
    """``[H, W]``: the level that each pixel's region comes from."""
    level = torch.searchsorted(hierarchy.level_starts, hierarchy.node.long(), right=True) - 1
    return level[hierarchy.labels[0].long()].numpy()


def draw_levels(image: np.ndarray, hierarchy: Hierarchy) -> np.ndarray:
    """The levels in their mean colours, three a row."""
    maps = level_maps(hierarchy)
    pictures = {f'level {level}: {len(np.unique(maps[level]))} regions': paint_mean_color(image, maps[level]) for level in SHOWN_LEVELS}
    pictures = [*pictures.items()]
    return stack_strips([panel_strip(dict(pictures[start:start + 3])) for start in range(0, len(pictures), 3)])


def draw_selection(image: np.ndarray, hierarchy: Hierarchy) -> np.ndarray:
    """Borders of the result over the image, and the level of each region."""
    labels, levels = hierarchy.labels[0].numpy(), selected_levels(hierarchy)
    greys = np.linspace(0, 255, levels.max() - levels.min() + 1).astype(np.uint8)
    return panel_strip({f'{labels.max() + 1} regions': overlay(image, labels),
                        f'level of each region, from {levels.min()} (black) to {levels.max()} (white)': upscale(
                            paint_labels(levels - levels.min(), greys[:, None].repeat(3, 1)), SCALE)})


def overlay(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Borders over the image, enlarged so that they leave it visible."""
    return draw_borders(upscale(image, SCALE), upscale(labels, SCALE))


def draw_choices(image: np.ndarray, checkpoint: Path) -> np.ndarray:
    """Two criteria above, two hard budgets below."""
    choices = {'AICc': dict(criterion='aicc'), 'CIC': dict(criterion='cic')}
    choices |= {f'hard budget of {budget}': dict(token_budget=dict(mode='hard', test=budget)) for budget in BUDGETS}
    pictures = []
    for name, options in choices.items():
        tokenizer = make_tokenizer(checkpoint, **options)
        with torch.no_grad():
            labels = tokenizer(normalise(image)).labels[0].numpy()
        pictures.append((f'{name}: {labels.max() + 1} regions', overlay(image, labels)))
    return stack_strips([panel_strip(dict(pictures[:2])), panel_strip(dict(pictures[2:]))])


def make_tokenizer(checkpoint: Path, **options: object) -> DHTTokenizer:
    """The trained tokenizer with other options."""
    tokenizer = DHTTokenizer(compactness=COMPACTNESS, **options).eval()
    load_tokenizer(tokenizer, checkpoint)
    return tokenizer


def main() -> None:
    """Draws all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--out-dir', type=Path, default=HERE)
    args = parser.parse_args()
    image = np.array(Image.fromarray(data.coffee()).resize(SIZE, Image.Resampling.BICUBIC))
    hierarchy = make_tokenizer(args.checkpoint).hierarchy(normalise(image))
    save_png(args.out_dir / 'photo.png', image)
    save_png(args.out_dir / 'hierarchy.png', draw_levels(image, hierarchy))
    save_png(args.out_dir / 'selection.png', draw_selection(image, hierarchy))
    save_png(args.out_dir / 'choices.png', draw_choices(image, args.checkpoint))


if __name__ == '__main__':
    main()
