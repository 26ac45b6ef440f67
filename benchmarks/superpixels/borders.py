"""Where borders lie, which is what boundary precision counts: near those that people drew, in smooth areas, or in texture.

    python benchmarks/superpixels/borders.py --data DATA/bsds500 --split train --images 12 --regions 400 --published published.pth

cuts up images as compare.py does and prints, in per cent of the pixels, means over images: border pixels; those of them at most one pixel
away from a border of any annotator; and of the others those where the grey levels' gradient is below 8 levels a pixel, and the rest.
Then how many pixels the region of a pixel has on average: the more, the less even are the sizes of the regions.
"""

import argparse
from functools import cache

import numpy as np
import torch
from compare import add_options, build_methods, find_images, matched, read_image
from torch import Tensor

from dht_mm.metrics.boundary import border_pixels, near_pixels

SMOOTH = 8  # grey levels a pixel
COLUMNS = 'regions', 'borders', 'near annotated ones', 'else, smooth', 'else, textured', "a pixel's region"


def describe(labels: Tensor, near: Tensor, smooth: Tensor) -> list[float]:
    """The columns of one partition."""
    borders, sizes = border_pixels(labels), labels.unique(return_counts=True)[1].double()
    shares = [100 * kind.double().mean().item() for kind in (borders, borders & near, borders & ~near & smooth, borders & ~near & ~smooth)]
    return [len(sizes), *shares, (sizes.square().sum() / sizes.sum()).item()]


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    args = parser.parse_args()
    methods = build_methods(args)
    rows = {(target, name): [] for target in sorted(args.regions) for name in methods}
    for sample in find_images(args.data, args.split, args.images):
        image, truths = read_image(sample.image), torch.from_numpy(np.stack(sample.read_truths()))
        near = near_pixels(border_pixels(truths), 1).any(0)
        smooth = torch.from_numpy(np.hypot(*np.gradient(image.mean(2)))) < SMOOTH
        for name, method in methods.items():
            segment = cache(method.prepare(image))
            for target in sorted(args.regions):
                labels = torch.from_numpy(matched(segment, method, target).astype(np.int64))
                rows[target, name].append(describe(labels, near, smooth))
    print(f'| K | method | {" | ".join(COLUMNS)} |\n|{"---|" * (2 + len(COLUMNS))}')
    for (target, name), values in rows.items():
        regions, *shares, region = np.mean(values, 0)
        print(f'| {target} | {name} | {regions:.0f} | {" | ".join(f"{share:.1f}" for share in shares)} | {region:.0f} |')


if __name__ == '__main__':
    main()
