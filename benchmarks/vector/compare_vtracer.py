"""dht_mm.vector beside vtracer: quality against number of paths and against bytes, and time, in one process.

    pip install vtracer resvg-py scikit-image
    python benchmarks/vector/compare_vtracer.py ../shared/images --checkpoint tokenizer.pth --compactness 0.01 --size 224

A sweep of vtracer's settings and a sweep of our number of regions, each point the mean over all images, resized bicubically to
size x size pixels and rendered by resvg. Then, for each setting of vtracer that no cheaper one equals in PSNR, our curve, interpolated
linearly over the logarithm of paths (or bytes). Last the processor time on one thread, theirs and ours image by image in turn: ours with
and without finding the regions, which is part of theirs.
"""

import argparse
import sys
import time
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import vtracer
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[2] / 'tools'))
from raster_to_vector import GAIN, find_regions  # noqa: E402
from svg_quality import render, ssim  # noqa: E402
from tokenize_image import add_tokenizer_options, build_tokenizer  # noqa: E402

from dht_mm.metrics import psnr  # noqa: E402
from dht_mm.vector import vectorize, vectorize_published  # noqa: E402
from dht_mm.visualization import paint_mean_color, read_image  # noqa: E402

TOKENS = (20, 30, 60, 100, 150, 200, 300, 450, 700, 1000, 1500, 2500, 4000)
MODES, SPECKLES, COLOR_BITS, LAYERS = ('polygon', 'spline'), (2, 4, 8, 16), (6, 8), (8, 32)
DIGITS = 0  # after the point of vtracer's coordinates; more of them cost bytes and gain 0.1 dB
TIMED = dict(mode='polygon', filter_speckle=4, color_precision=8, layer_difference=32)
RUNS = 5


class Point(NamedTuple):
    """One setting's mean over the images."""

    name: str
    psnr: float
    ssim: float
    paths: float
    kilobytes: float


def quality(image: np.ndarray, svg: str) -> tuple[float, float, int, float]:
    """PSNR, SSIM, paths and kB of one document."""
    painted = render(svg, image.shape[1], image.shape[0])
    return psnr(image, painted), ssim(image, painted), svg.count('<path'), len(svg.encode()) / 1000


def mean_point(name: str, rows: list[tuple]) -> Point:
    """Means of one setting over the images."""
    return Point(name, *np.mean(rows, 0))


def ours(images: list[np.ndarray], regions: list[np.ndarray], name: str, published: bool = False, **options: object) -> Point:
    """Our point for the images' label maps."""
    draw = vectorize_published if published else vectorize
    svgs = [draw(image, labels, **options) for image, labels in zip(images, regions, strict=True)]
    return mean_point(name, [quality(image, svg) for image, svg in zip(images, svgs, strict=True)])


def flat_partition(images: list[np.ndarray], regions: list[np.ndarray]) -> Point:
    """Each pixel in its region's mean colour: no vector graphics at all."""
    rows = []
    for image, labels in zip(images, regions, strict=True):
        painted = paint_mean_color(image, labels)
        rows.append((psnr(image, painted), ssim(image, painted), labels.max() + 1, np.nan))
    return mean_point('painted partition', rows)


def run_vtracer(image: np.ndarray, **options: object) -> str:
    """vtracer's document; it takes a list of pixels, which is made beforehand in timings."""
    return vtracer.convert_pixels_to_svg(pixel_list(image), image.shape[1::-1], **options)


def pixel_list(image: np.ndarray) -> list[tuple[int, int, int, int]]:
    return [(*pixel, 255) for pixel in image.reshape(-1, 3).tolist()]


def theirs(images: list[np.ndarray], mode: str, speckle: int, bits: int, layer: int) -> Point:
    """vtracer's point for one setting."""
    options = dict(mode=mode, filter_speckle=speckle, color_precision=bits, layer_difference=layer)
    return mean_point(f'{mode} speckle={speckle} bits={bits} layer={layer}',
                      [quality(image, run_vtracer(image, path_precision=DIGITS, **options)) for image in images])


def front(points: list[Point], cost: str) -> list[Point]:
    """The points that no cheaper one equals in PSNR, cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: getattr(point, cost)):
        if not best or point.psnr > best[-1].psnr:
            best.append(point)
    return best


def at(points: list[Point], cost: str, value: float) -> list[float]:
    """PSNR and SSIM of a curve at a cost; NaN outside it."""
    places = np.log([getattr(point, cost) for point in points])
    return [float(np.interp(np.log(value), places, [getattr(point, field) for point in points], left=np.nan, right=np.nan))
            for field in ('psnr', 'ssim')]


def print_points(title: str, points: list[Point]) -> None:
    print(f'\n{title}\n\n| setting | PSNR | SSIM | paths | kB |\n|---|---|---|---|---|')
    for point in points:
        print(f'| {point.name} | {point.psnr:.2f} | {point.ssim:.3f} | {point.paths:.0f} | {point.kilobytes:.1f} |', flush=True)


def print_comparison(cost: str, vtracer_points: list[Point], curves: dict[str, list[Point]]) -> None:
    """vtracer's front over a cost, and our curves at the same cost."""
    print(f'\nPSNR / SSIM at equal {cost}\n\n| {cost} | vtracer | ' + ' | '.join(curves) + ' |\n' + '|---' * (2 + len(curves)) + '|')
    for point in front(vtracer_points, cost):
        value = getattr(point, cost)
        ours_here = ['{:.2f} / {:.3f}'.format(*at(points, cost, value)) for points in curves.values()]
        print(f'| {value:.0f} | {point.psnr:.2f} / {point.ssim:.3f} | ' + ' | '.join(ours_here) + ' |')


def print_times(images: list[np.ndarray], tokenizer: torch.nn.Module, device: str) -> None:
    """Processor times in ms of vtracer and, at its number of paths, of us: of each image the least, and of all images the median."""
    tokens = round(np.mean([run_vtracer(image, **TIMED).count('<path') for image in images]))
    times = []
    for image in images * RUNS:
        pixels = pixel_list(image)
        moments = [time.process_time()]
        vtracer.convert_pixels_to_svg(pixels, image.shape[1::-1], **TIMED)
        moments.append(time.process_time())
        labels, _ = find_regions(tokenizer, image, tokens, device)
        moments.append(time.process_time())
        vectorize(image, labels)
        moments.append(time.process_time())
        times.append(np.diff(moments) * 1000)
    them, regions, curves = np.median(np.reshape(times, (RUNS, len(images), 3)).min(0), 0)
    print(f'\n{tokens} paths: vtracer {them:.0f} ms, vectorize {curves:.0f} ms ({curves / them:.2f} of vtracer), with finding the regions '
          f'{regions + curves:.0f} ms ({(regions + curves) / them:.2f})')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, help='folder of .jpg images')
    add_tokenizer_options(parser)
    parser.add_argument('--only-times', action='store_true', help='leave out the sweeps')
    args = parser.parse_args()
    if args.size is None:
        parser.error('--size is needed')
    torch.set_num_threads(1)
    tokenizer = build_tokenizer(args)
    images = [np.array(Image.fromarray(read_image(path)).resize((args.size, args.size), Image.Resampling.BICUBIC))
              for path in sorted(args.folder.glob('*.jpg'))]
    print(f'{len(images)} images, {args.size} x {args.size} pixels')
    if args.only_times:
        print_times(images, tokenizer, args.device)
        return
    own, *merged = ([find_regions(tokenizer, image, tokens, args.device)[0] for image in images] for tokens in (None, *TOKENS))
    print_points("The tokenizer's own regions", [
        flat_partition(images, own), ours(images, own, 'published steps', published=True), ours(images, own, 'flat fills'),
        ours(images, own, 'gradients', least_gain=GAIN)])
    curves = {name: [ours(images, regions, f'T={tokens}', **options) for tokens, regions in zip(TOKENS, merged, strict=True)]
              for name, options in (('flat fills', {}), ('gradients', dict(least_gain=GAIN)))}
    for name, points in curves.items():
        print_points(f'T regions, {name}', points)
    settings = [theirs(images, *setting) for setting in product(MODES, SPECKLES, COLOR_BITS, LAYERS)]
    print_points('vtracer', settings)
    for cost in ('paths', 'kilobytes'):
        print_comparison(cost, settings, curves)
    print_times(images, tokenizer, args.device)


if __name__ == '__main__':
    main()
