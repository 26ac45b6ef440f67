"""Makes the picture of levels in docs/visualization.md.

    python docs/images/make_levels.py CHECKPOINT

CHECKPOINT holds a tokenizer. The photograph is skimage.data.coffee(), CC0 by its photographer Rachel Michetti.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer
from dht_mm.visualization import draw_levels, save_png

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / 'tools'))
from tokenize_image import normalize  # noqa: E402

SIZE = 360, 240  # width and height in pixels


def main() -> None:
    """Draws all levels of the photograph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--out', type=Path, default=HERE / 'levels.png')
    args = parser.parse_args()
    tokenizer = DHTTokenizer(compactness=0.01).eval()
    load_tokenizer(tokenizer, args.checkpoint)
    image = np.array(Image.fromarray(data.coffee()).resize(SIZE, Image.Resampling.BICUBIC))
    save_png(args.out, draw_levels(image, tokenizer.hierarchy(normalize(image, 'cpu'))))


if __name__ == '__main__':
    main()
