"""Makes the picture of the README: a photograph, its regions, and what is left of it when each region has one colour.

    python docs/images/make_regions.py

The tokenizer is the one that comes with the package, or that of --checkpoint. The photograph is skimage.data.coffee(), CC0 by its
photographer Rachel Michetti.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from dht_mm.visualization import panel_strip, read_image, save_png, upscale

HERE = Path(__file__).resolve().parent
TOOL = HERE.parents[1] / 'tools/tokenize_image.py'
SIZE = (240, 160)  # width and height in pixels; keeps the picture below 300 kB
SCALE = 2  # enlarged, so that borders one pixel wide leave the image visible


def main() -> None:
    """Runs the tool on the photograph and joins its pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--checkpoint', metavar='FILE', help='weights of a tokenizer')
    parser.add_argument('--out', type=Path, default=HERE / 'regions.png')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / 'coffee.png'
        image = np.array(Image.fromarray(data.coffee()).resize(SIZE, Image.Resampling.BICUBIC))
        save_png(photo, image)
        options = ['--out-dir', folder, '--scale', str(SCALE), *(['--checkpoint', args.checkpoint] if args.checkpoint else [])]
        subprocess.run([sys.executable, TOOL, photo, *options], check=True)
        overlay = read_image(photo.with_name('coffee_overlay.png'))
        mean_color = upscale(read_image(photo.with_name('coffee_mean_color.png')), SCALE)
        save_png(args.out, panel_strip({'image': upscale(image, SCALE), 'regions': overlay, 'mean colours': mean_color}))


if __name__ == '__main__':
    main()
