"""Generates a small segmentation data set in ADE20K's format: textured shapes with pixel-exact borders.

    python tools/demo/make_shapes_dataset.py data/shapes --train 240 --val 60 --size 128 --seed 0

Every image is a photograph with shapes cut out of other photographs on it. A class is a family of shapes which mostly, but not
always, wears the same photograph, so that neither colour nor shape alone decides. Strokes and rings are two to four pixels wide:
a grid of patches cannot follow them. The photographs are those that come inside scikit-image's wheel; no network is used. Label 0
means 'not labelled', as in ADE20K, and the classes of ``CLASSES`` count from 1. The same arguments give the same files.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data, draw

CLASSES = ('scene', 'disc', 'polygon', 'star', 'ring', 'stroke')
SCENES = ('chelsea', 'coffee', 'astronaut')
OWN_PHOTO = {'disc': 'immunohistochemistry', 'polygon': 'brick', 'star': 'grass', 'ring': 'rocket', 'stroke': 'hubble_deep_field'}
TINTS = {'brick': (1.15, 0.75, 0.55), 'grass': (0.7, 1.05, 0.5)}  # these two are grey in scikit-image
BORROWED = 0.15  # share of the shapes that wear another class's photograph
UNLABELLED = 0.2  # share of the images with an unlabelled shape
SPLITS = ('training', 'validation')

Mask = np.ndarray  # [H, W] bool
Shape = Callable[[np.random.Generator, int], Mask]


def load_photo(name: str) -> Image.Image:
    """An RGB photograph of scikit-image; grey ones are tinted."""
    photo = getattr(data, name)()
    if photo.ndim == 2:
        photo = to_bytes(photo[..., None] * TINTS[name])
    return Image.fromarray(photo)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """The nearest uint8 of values meant to lie in [0, 255]."""
    return np.clip(values, 0, 255).round().astype(np.uint8)


def cut_texture(rng: np.random.Generator, photo: Image.Image, size: int) -> np.ndarray:
    """A random piece of a photograph as ``[size, size, 3]`` uint8, sometimes mirrored, a little darker or brighter."""
    side = int(rng.uniform(0.4, 0.9) * min(photo.size))
    left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
    piece = photo.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return to_bytes(np.asarray(piece)[:, ::rng.choice([-1, 1])] * rng.uniform(0.8, 1.2))


def disc(rng: np.random.Generator, size: int) -> Mask:
    """A filled ellipse at any angle."""
    mask = np.zeros((size, size), bool)
    radii = rng.uniform(0.08, 0.2, 2) * size
    mask[draw.ellipse(*rng.uniform(0.1, 0.9, 2) * size, *radii, shape=mask.shape, rotation=rng.uniform(0, np.pi))] = True
    return mask


def ring(rng: np.random.Generator, size: int) -> Mask:
    """A circle line, two to four pixels wide."""
    center, radius = rng.uniform(0.2, 0.8, 2) * size, rng.uniform(0.1, 0.2) * size
    distance = np.hypot(*(np.indices((size, size)) - center[:, None, None]))
    return np.abs(distance - radius) <= rng.uniform(1, 1.6)


def fill(rng: np.random.Generator, size: int, radii: np.ndarray) -> Mask:
    """The polygon with corners at these distances (shares of ``size``) around a random centre."""
    angles = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    y, x = rng.uniform(0.15, 0.85, 2) * size
    return draw.polygon2mask((size, size), np.stack([y + size * radii * np.sin(angles), x + size * radii * np.cos(angles)], 1))


def polygon(rng: np.random.Generator, size: int) -> Mask:
    """An uneven triangle, quadrangle or pentagon."""
    return fill(rng, size, rng.uniform(0.12, 0.24, rng.integers(3, 6)))


def star(rng: np.random.Generator, size: int) -> Mask:
    """A star with five to seven sharp points."""
    return fill(rng, size, np.tile([1, rng.uniform(0.35, 0.5)], rng.integers(5, 8)) * rng.uniform(0.14, 0.24))


def stroke(rng: np.random.Generator, size: int) -> Mask:
    """A bent line across the image, two to four pixels wide."""
    corners = rng.uniform(0, 1, (3, 2)) * size
    corners[[0, 2], rng.integers(0, 2)] = 0, size - 1
    pixels = np.indices((size, size)).reshape(2, -1).T
    distance = np.minimum(*(distance_to_segment(pixels, *pair) for pair in zip(corners[:-1], corners[1:], strict=True)))
    return (distance <= rng.uniform(1, 1.6)).reshape(size, size)


def distance_to_segment(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distance of each of ``[N, 2]`` points from the line segment between two points, ``[N]``."""
    along = end - start
    share = np.clip((points - start) @ along / max(along @ along, 1e-9), 0, 1)
    return np.linalg.norm(points - start - share[:, None] * along, axis=1)


SHAPES: dict[str, Shape] = {'disc': disc, 'polygon': polygon, 'star': star, 'ring': ring, 'stroke': stroke}


def make_sample(rng: np.random.Generator, photos: dict[str, Image.Image], size: int) -> tuple[np.ndarray, np.ndarray]:
    """One image ``[size, size, 3]`` uint8 with its label map ``[size, size]`` uint8."""
    image = cut_texture(rng, photos[rng.choice(SCENES)], size)
    labels = np.full((size, size), 1 + CLASSES.index('scene'), np.uint8)
    filled, thin = rng.choice(['disc', 'polygon', 'star'], rng.integers(3, 6)), rng.choice(['ring', 'stroke'], rng.integers(1, 4))
    for name in (*filled, *thin):
        mask = SHAPES[name](rng, size)
        photo = rng.choice(list(OWN_PHOTO.values())) if rng.random() < BORROWED else OWN_PHOTO[name]
        image[mask] = cut_texture(rng, photos[photo], size)[mask]
        labels[mask] = 1 + CLASSES.index(name)
    if rng.random() < UNLABELLED:
        mask = disc(rng, size)
        image[mask] = cut_texture(rng, photos[rng.choice(SCENES)], size)[mask]
        labels[mask] = 0
    return image, labels


def write_split(folder: Path, split: str, count: int, size: int, seed: int) -> None:
    """Writes ``count`` pairs ``images/SPLIT/N.png``, ``annotations/SPLIT/N.png``; PNG, since JPEG would blur the borders."""
    photos = {name: load_photo(name) for name in (*SCENES, *OWN_PHOTO.values())}
    images, annotations = folder / 'images' / split, folder / 'annotations' / split
    images.mkdir(parents=True)
    annotations.mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        image, labels = make_sample(rng, photos, size)
        Image.fromarray(image).save(images / f'{index:04d}.png')
        Image.fromarray(labels).save(annotations / f'{index:04d}.png')


def make_dataset(out: Path, train: int, val: int, size: int, seed: int) -> bool:
    """Makes the data set, unless the same one is there.

    It is written to ``OUT.partial`` and renamed when complete, so that a folder ``OUT`` is never half a data set.

    Args:
        out: Folder to create.
        train: Images of the training split.
        val: Images of the validation split.
        size: Width and height of the images in pixels.
        seed: Seed of everything drawn.

    Returns:
        Whether anything was written.

    Raises:
        ValueError: A number is out of range, or ``out`` exists with other contents.
    """
    if min(train, val) < 1 or size < 16 or seed < 0:
        raise ValueError(f'train and val must be >= 1, size >= 16, seed >= 0, got {train}, {val}, {size}, {seed}')
    settings = json.dumps(dict(train=train, val=val, size=size, seed=seed, classes=CLASSES))
    if out.exists():
        if not (out / 'settings.json').is_file() or (out / 'settings.json').read_text() != settings:
            raise ValueError(f'out: {out} exists and is not this data set; remove it or choose another folder')
        return False
    partial = out.with_name(out.name + '.partial')
    shutil.rmtree(partial, ignore_errors=True)
    for split, count in zip(SPLITS, (train, val), strict=True):
        write_split(partial, split, count, size, seed)
    (partial / 'settings.json').write_text(settings)
    partial.rename(out)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description='Generate textured shapes with exact label maps in ADE20K format.')
    parser.add_argument('out', type=Path, help='folder to create')
    parser.add_argument('--train', type=int, default=240, help='images of the training split (default: %(default)s)')
    parser.add_argument('--val', type=int, default=60, help='images of the validation split (default: %(default)s)')
    parser.add_argument('--size', type=int, default=128, help='width and height in pixels (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='seed of everything drawn (default: %(default)s)')
    try:
        args = parser.parse_args()
        made = make_dataset(**vars(args))
    except ValueError as error:
        parser.error(str(error))
    print(f'{args.out}: {args.train} + {args.val} images of {len(CLASSES)} classes{"" if made else " (already there)"}')


if __name__ == '__main__':
    main()
