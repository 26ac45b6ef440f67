"""Pack CamVid and the weights of a plain ViT into two files for camvid.py.

    python benchmarks/segmentation/pack_camvid.py --data DATA/camvid --vit VIT.pth --out FOLDER

DATA/camvid has images/SPLIT/*.jpg and annotations/SPLIT/*.png. VIT.pth is the state dict of a ViT of any layout that
`dht_mm.converters.convert_vit` knows.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from packing import pack_images, pack_weights
from PIL import Image


def read_split(folder: Path, split: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and label maps in the order of their names."""
    labels = sorted((folder / 'annotations' / split).glob('*.png'))
    if not labels:
        raise SystemExit(f'--data must have annotations/{split}/*.png, but {folder} has none')
    images = [folder / 'images' / split / f'{path.stem}.jpg' for path in labels]
    return [(np.asarray(Image.open(image).convert('RGB')), np.asarray(Image.open(label)))
            for image, label in zip(images, labels, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--vit', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--splits', nargs='+', default=['train', 'val', 'test'])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    pack_images(args.out / 'camvid.npz', {split: read_split(args.data, split) for split in args.splits})
    pack_weights(args.out / 'vit.npz', torch.load(args.vit, map_location='cpu', weights_only=True))
    for path in sorted(args.out.glob('*.npz')):
        print(f'{path}: {path.stat().st_size / 2**20:.1f} MiB')


if __name__ == '__main__':
    main()
