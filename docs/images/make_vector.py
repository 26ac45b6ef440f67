"""Makes the pictures of docs/vector.md: a photograph as SVG, and a part of it seen closely.

    python docs/images/make_vector.py CHECKPOINT

CHECKPOINT holds a tokenizer, for instance the published one after tools/model_converters/dht_reference_to_mm.py. A renderer is needed
(`pip install resvg-py`). The photograph is skimage.data.coffee(), CC0 by its photographer Rachel Michetti.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer
from dht_mm.vector import vectorize, vectorize_published
from dht_mm.visualization import panel_strip, save_png, stack_strips, upscale

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / 'tools'))
from raster_to_vector import GAIN, find_regions  # noqa: E402
from svg_quality import render  # noqa: E402

SIZE = 300, 200  # width and height in pixels
TOKENS = 300
CROP, ZOOM = (160, 60, 210, 100), 7  # left, upper, right and lower pixel of the close view, and how much it is enlarged


def main() -> None:
    """Draws both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--out-dir', type=Path, default=HERE)
    args = parser.parse_args()
    tokenizer = DHTTokenizer(compactness=0.01).eval()
    load_tokenizer(tokenizer, args.checkpoint)
    image = np.array(Image.fromarray(data.coffee()).resize(SIZE, Image.Resampling.BICUBIC))
    labels, _ = find_regions(tokenizer, image, TOKENS, 'cpu')
    width, height = SIZE
    flat, shaded = vectorize(image, labels), vectorize(image, labels, least_gain=GAIN)
    documents = {f'flat fills, {len(flat) / 1000:.0f} kB': flat, f'gradients, {len(shaded) / 1000:.0f} kB': shaded}
    pictures = {f'{width} x {height} pixels': image, **{name: render(svg, width, height) for name, svg in documents.items()}}
    save_png(args.out_dir / 'vector.png', panel_strip(pictures))
    pixels = vectorize(image, labels, tolerance=0)
    published = vectorize_published(image, labels)
    rows = [{'image': upscale(crop(image), ZOOM), 'tolerance 0': close(pixels)},
            {'tolerance 0.5 (default)': close(flat), 'published steps': close(published)}]
    save_png(args.out_dir / 'vector_close.png', stack_strips([panel_strip(row) for row in rows]))


def crop(picture: np.ndarray, scale: int = 1) -> np.ndarray:
    """The part of a picture, enlarged by ``scale``, that is seen closely."""
    left, upper, right, lower = (scale * edge for edge in CROP)
    return picture[upper:lower, left:right]


def close(svg: str) -> np.ndarray:
    """The close view of a document."""
    return crop(render(svg, SIZE[0] * ZOOM, SIZE[1] * ZOOM), ZOOM)


if __name__ == '__main__':
    main()
