"""Calls every compiled kernel on small inputs, to be run under a sanitizer.

    for tool in memcheck racecheck initcheck; do
        PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $tool python tools/ops/exercise_kernels.py
    done

Without caching every tensor has memory of its own, so that a sanitizer sees where one ends.
"""

import argparse

import torch
from torch import Tensor

from dht_mm.embedding import RegionEmbedding
from dht_mm.features import RegionFeatures
from dht_mm.heads import PixelDecode
from dht_mm.ops import pool_cells, region_pixels, use_backend
from dht_mm.tokenizer import DHTTokenizer, mean_shift

# Batch, image channels, feature channels, height and width: the channels with kernels of their own and others; several levels; a line.
SIZES = ((2, 3, 8, 70, 65), (2, 4, 5, 33, 40), (1, 3, 8, 1, 37), (3, 3, 8, 4, 4))
BUDGETS = (None, dict(mode='soft', train=12), dict(mode='hard', train=12), dict(mode='exact', train=12),
           dict(mode='hard', train=12, spread=0.1))


def photograph_like(batch: int, channels: int, height: int, width: int) -> Tensor:
    """Blobs under noise, and a flat half, where regions have many children."""
    coarse = torch.randn(batch, channels, height // 6 + 1, width // 6 + 1)
    image = coarse.repeat_interleave(6, 2).repeat_interleave(6, 3)[:, :, :height, :width]
    image = image + 0.1 * torch.randn(image.shape)
    image[:, :, :, :width // 2] = 0.25
    return image


def exercise(images: Tensor, hidden_channels: int, budget: dict | None, norm_eval: bool) -> None:
    """One training step from images to tokens and back, to a feature map and to some pixels; then all pixels, and evaluation."""
    channels = images.shape[1]
    tokenizer = DHTTokenizer(channels, hidden_channels, compactness=0.01, token_budget=budget, norm_eval=norm_eval).to(images.device)
    features = RegionFeatures(channels, 8, 4, gradient=True).to(images.device)
    embedding = RegionEmbedding(features.dims, 16).to(images.device)
    partition = tokenizer.train()(images)
    tokens = embedding(features(images, partition, mean_shift(images, partition)), partition)
    cells = pool_cells(tokens[:partition.total_regions], partition.labels, partition.offsets, 4)
    decode = PixelDecode(16, 3, image_channels=channels, texture=norm_eval).to(images.device)
    regions = tokens[:partition.total_regions]
    pixels = decode(regions[:, :3], regions, partition, images.detach(), None, slice(0, None, 2), slice(1, None, 3))
    (tokens.square().sum() + cells.square().sum() + pixels.square().sum()).backward()
    with torch.no_grad():
        decode(regions[:, :3], regions, partition, images)
        tokenizer.eval()(images)


def exercise_fixed(images: Tensor, hidden_channels: int, budget: dict | None, capacity: int) -> None:
    """A training step of a tokenizer of a fixed capacity and mean injection, forward and backward; then evaluation."""
    channels = images.shape[1]
    tokenizer = DHTTokenizer(channels, hidden_channels, compactness=0.01, token_budget=budget, capacity=capacity).to(images.device)
    partition = tokenizer.train()(images)
    if not images.is_cuda and (partition.num_regions < 0).any():
        return  # on a CPU the operators on regions refuse labels without a row
    shift = mean_shift(images, partition)
    samples, mask = region_pixels(images, partition.labels, partition.offsets, partition.bbox, 8, shift)
    (samples.square().sum() + mask.sum()).backward()
    with torch.no_grad():
        tokenizer.eval()(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    device = parser.parse_args().device
    torch.manual_seed(0)
    with use_backend('ext'):
        for batch, channels, hidden, height, width in SIZES:
            images = photograph_like(batch, channels, height, width).to(device)
            for budget in BUDGETS:
                for norm_eval in (True, False):
                    exercise(images.requires_grad_(norm_eval), hidden, budget, norm_eval)
            for budget in (BUDGETS[0], *BUDGETS[2:]):
                for capacity in (batch * height * width, 1):  # room for all regions, and too little
                    exercise_fixed(images.detach(), hidden, budget, capacity)
            print(f'{batch} images of {height} x {width} with {channels} and {hidden} channels: done', flush=True)
    if device.startswith('cuda'):
        torch.cuda.synchronize()


if __name__ == '__main__':
    main()
