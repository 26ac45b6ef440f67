"""dht_mm.vector beside vtracer: quality against number of paths and against bytes, and time, in one process.

    pip install vtracer resvg-py scikit-image
    python benchmarks/vector/compare_vtracer.py ../shared/images --checkpoint tokenizer.pth --compactness 0.01 --size 224

A sweep of vtracer's settings and a sweep of our number of regions, each point the mean over all images, resized bicubically to
size x size pixels and rendered by resvg. Then, for each setting of vtracer that no other beats in both PSNR and paths (or bytes), our
curve, interpolated linearly over the logarithm of paths (or bytes). Times are medians over the images on one thread, ours with
and without finding the regions, which vtracer's include.
"""

import argparse
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import vtracer
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[2] / 'tools'))
from raster_to_vector import GAIN, find_regions  # noqa: E402
from svg_quality import psnr, render, ssim  # noqa: E402
from tokenize_image import add_tokenizer_options, build_tokenizer  # noqa: E402

from dht_mm.vector import vectorize, vectorize_published  # noqa: E402
from dht_mm.visualization import paint_mean_color, read_image  # noqa: E402

TOKENS = (60, 100, 150, 200, 300, 450, 700, 1000, 1500, 2500, 4000)
# vtracer: mode and digits after the point of its coordinates, speckles dropped, colour bits, layer difference.
MODES = (('polygon', 0), ('spline', 0), ('spline', 8))
SPECKLES, COLOR_BITS, LAYERS = (2, 4, 8, 16), (6, 8), (8, 32)


class Point(NamedTuple):
    """One setting's mean over the images; times in ms, ``total`` with finding the regions."""

    name: str
    psnr: float
    ssim: float
    paths: float
    kilobytes: float
    time: float
    total: float


def timed(function: Callable[..., object], *args: object, **options: object) -> tuple[float, object]:
    """Time in ms of a call, and its result."""
    start = time.perf_counter()
    result = function(*args, **options)
    return 1000 * (time.perf_counter() - start), result


def quality(image: np.ndarray, svg: str) -> tuple[float, float, int, float]:
    """PSNR, SSIM, paths and kB of one document."""
    painted = render(svg, image.shape[1], image.shape[0])
    return psnr(image, painted), ssim(image, painted), svg.count('<path'), len(svg.encode()) / 1000


def mean_point(name: str, rows: list[tuple]) -> Point:
    """Means of quality and medians of times of one setting."""
    rows = np.array(rows)
    return Point(name, *rows[:, :4].mean(0), *np.median(rows[:, 4:], 0))


def ours(images: list[np.ndarray], tokenizer: torch.nn.Module, tokens: int | None, device: str, **options: object) -> Point:
    """Our point for a number of regions; ``published=True`` for the published steps."""
    published = options.pop('published', False)
    draw = vectorize_published if published else vectorize
    rows = []
    for image in images:
        found, (labels, _) = timed(find_regions, tokenizer, image, tokens, device)
        drawn, svg = timed(draw, image, labels, **options)
        rows.append((*quality(image, svg), drawn, found + drawn))
    name = f"T={tokens or 'own'}{' published' if published else ' gradients' if options else ''}"
    return mean_point(name, rows)


def flat_partition(images: list[np.ndarray], tokenizer: torch.nn.Module, device: str) -> Point:
    """The tokenizer's own partition, each pixel in its region's mean colour: no vector graphics at all."""
    rows = []
    for image in images:
        labels, _ = find_regions(tokenizer, image, None, device)
        painted = paint_mean_color(image, labels)
        rows.append((psnr(image, painted), ssim(image, painted), labels.max() + 1, np.nan, np.nan, np.nan))
    return mean_point('painted partition', rows)


def theirs(images: list[np.ndarray], mode: str, digits: int, speckle: int, bits: int, layer: int) -> Point:
    """vtracer's point for one setting."""
    rows = []
    for image in images:
        height, width = image.shape[:2]
        pixels = [(*pixel, 255) for pixel in image.reshape(-1, 3).tolist()]
        spent, svg = timed(
            vtracer.convert_pixels_to_svg, pixels, (width, height), mode=mode, path_precision=digits, filter_speckle=speckle,
            color_precision=bits, layer_difference=layer)
        rows.append((*quality(image, svg), spent, spent))
    return mean_point(f'{mode} precision={digits} speckle={speckle} bits={bits} layer={layer}', rows)


def front(points: list[Point], cost: str) -> list[Point]:
    """The points that no cheaper one equals in PSNR, cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: getattr(point, cost)):
        if not best or point.psnr > best[-1].psnr:
            best.append(point)
    return best


def at(points: list[Point], cost: str, value: float) -> list[float]:
    """PSNR, SSIM and total time of a curve at a cost; NaN outside it."""
    places = np.log([getattr(point, cost) for point in points])
    return [float(np.interp(np.log(value), places, [getattr(point, field) for point in points], left=np.nan, right=np.nan))
            for field in ('psnr', 'ssim', 'time', 'total')]


def print_points(title: str, points: list[Point]) -> None:
    print(f'\n{title}\n\n| setting | PSNR | SSIM | paths | kB | ms | ms with regions |\n|---|---|---|---|---|---|---|')
    for point in points:
        print(f'| {point.name} | {point.psnr:.2f} | {point.ssim:.3f} | {point.paths:.0f} | {point.kilobytes:.1f} | {point.time:.0f} '
              f'| {point.total:.0f} |', flush=True)


def print_comparison(cost: str, vtracer_points: list[Point], curves: dict[str, list[Point]]) -> None:
    """vtracer's front over a cost, and our curves at the same cost."""
    print(f'\nAt equal {cost}; time is ours over vtracer\'s, without and with finding the regions\n')
    print(f'| {cost} | vtracer | ' + ' | '.join(f'{name} | time' for name in curves) + ' |\n' + '|---' * (2 + 2 * len(curves)) + '|')
    for point in front(vtracer_points, cost):
        cells = []
        for points in curves.values():
            decibel, similarity, drawn, total = at(points, cost, getattr(point, cost))
            cells += [f'{decibel:.2f} / {similarity:.3f}', f'{drawn / point.time:.2f}, {total / point.time:.2f}']
        print(f'| {getattr(point, cost):.0f} | {point.psnr:.2f} / {point.ssim:.3f} | ' + ' | '.join(cells) + ' |')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, help='folder of .jpg images')
    add_tokenizer_options(parser)
    args = parser.parse_args()
    if args.size is None:
        parser.error('--size is needed')
    torch.set_num_threads(1)
    tokenizer = build_tokenizer(args)
    images = [np.array(Image.fromarray(read_image(path)).resize((args.size, args.size), Image.Resampling.BICUBIC))
              for path in sorted(args.folder.glob('*.jpg'))]
    print(f'{len(images)} images, {args.size} x {args.size} pixels')
    print_points("The tokenizer's own regions", [
        flat_partition(images, tokenizer, args.device), *(ours(images, tokenizer, None, args.device, **options) for options in (
            dict(published=True), {}, dict(least_gain=GAIN)))])
    curves = {name: [ours(images, tokenizer, tokens, args.device, **options) for tokens in TOKENS]
              for name, options in (('flat fills', {}), ('gradients', dict(least_gain=GAIN)))}
    for name, points in curves.items():
        print_points(f'T regions, {name}', points)
    settings = [theirs(images, *mode, *rest) for mode, *rest in product(MODES, SPECKLES, COLOR_BITS, LAYERS)]
    print_points('vtracer', settings)
    for cost in ('paths', 'kilobytes'):
        print_comparison(cost, settings, curves)


if __name__ == '__main__':
    main()
