"""Makes the picture of what a flip does: regions of a photograph, of the mirrored one, and of that with the features of the photograph.

    python docs/images/make_flip.py

The last two are turned back; shaded are the pixels outside of their region's best partner among those of the photograph. The tokenizer is
the one that comes with the package, or that of --checkpoint. The photograph is skimage.data.coffee(), CC0 by its photographer Rachel
Michetti.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from make_regions import SCALE, SIZE
from PIL import Image
from skimage import data

from dht_mm.metrics import best_overlap_agreement
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer
from dht_mm.tokenizer.shipped import shipped_tokenizer
from dht_mm.visualization import draw_borders, panel_strip, save_png, upscale

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / 'tools' / folder) for folder in ('', 'analysis_tools')]
from partition_stability import flip, mirrored_features  # noqa: E402
from tokenize_image import tokenize  # noqa: E402


def moved(labels: np.ndarray, own: np.ndarray) -> np.ndarray:
    """``[H, W]`` bool, pixels outside the region of ``own`` with which their region in ``labels`` has most pixels in common."""
    overlap = np.zeros((labels.max() + 1, own.max() + 1), int)
    np.add.at(overlap, (labels, own), 1)
    return overlap.argmax(1)[labels] != own


def panel(image: np.ndarray, labels: np.ndarray, own: np.ndarray) -> np.ndarray:
    shaded = np.where(moved(labels, own)[..., None], image // 3, image)
    return draw_borders(upscale(shaded, SCALE), upscale(labels, SCALE))


def main() -> None:
    """Tokenizes three times and joins the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--checkpoint', metavar='FILE', help='weights of a tokenizer')
    parser.add_argument('--out', type=Path, default=HERE / 'flip.png')
    args = parser.parse_args()
    tokenizer = DHTTokenizer().eval()
    load_tokenizer(tokenizer, args.checkpoint or shipped_tokenizer(tokenizer.options['compactness']))
    image = np.array(Image.fromarray(data.coffee()).resize(SIZE, Image.Resampling.BICUBIC))
    own = tokenize(tokenizer, image, 'cpu').labels[0].numpy()
    panels = {'regions': panel(image, own, own)}
    for title, other in (('of the mirrored image', tokenizer), ('mirrored with its features', mirrored_features(tokenizer))):
        labels = flip(tokenize(other, flip(image), 'cpu').labels[0].numpy())
        panels[f'{title}: {best_overlap_agreement(labels, own):.3f}'] = panel(image, labels, own)
    save_png(args.out, panel_strip(panels))


if __name__ == '__main__':
    main()
