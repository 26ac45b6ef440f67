"""What the benchmarks of the operators share: photographs in batches, a tokenizer, and times."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from dht_mm.embedding import RegionEmbedding
from dht_mm.features import RegionFeatures
from dht_mm.tokenizer import DHTTokenizer, mean_shift
from dht_mm.tokenizer.checkpoint import load_tokenizer

sys.path.append(str(Path(__file__).resolve().parents[1]))
from photographs import load_batch  # noqa: E402


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark here has."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument('--images', type=Path, default=Path('../shared/images'), help='folder of photographs (default: %(default)s)')
    result.add_argument('--checkpoint', type=Path, help='weights of a tokenizer; without, it is initialised at random with seed 0')
    result.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    result.add_argument('--repeats', type=int, default=20, help='runs of which the median is taken (default: %(default)s)')
    return result


def build_tokenizer(args: argparse.Namespace) -> DHTTokenizer:
    """The tokenizer that all figures here are of, in evaluation mode: the published compactness, everything else at its default."""
    torch.manual_seed(0)
    tokenizer = DHTTokenizer(compactness=0.01)
    if args.checkpoint:
        load_tokenizer(tokenizer, args.checkpoint)
    return tokenizer.to(args.device).eval()


def photographs(folder: Path, batch: int, height: int, width: int, device: str) -> Tensor:
    """``[B, 3, H, W]``, see :func:`load_batch`: of each photograph as much as has the shape asked for."""
    def cut(photo: Image.Image, random: np.random.Generator) -> Image.Image:
        return ImageOps.fit(photo, (width, height), Image.Resampling.BICUBIC, centering=tuple(random.random(2)))
    return load_batch(folder, batch, device, cut)


class Front(nn.Module):
    """Everything in front of the blocks of a dHT-ViT-S/16: tokenizer, mean injection, region features, embedding."""

    def __init__(self, tokenizer: DHTTokenizer, image_size: int):
        super().__init__()
        self.tokenizer = tokenizer
        self.features = RegionFeatures(3, 16, -(-image_size // 16))
        self.embedding = RegionEmbedding(self.features.dims, 384)

    def forward(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` to the tokens of :class:`RegionEmbedding`."""
        partition = self.tokenizer(images)
        return self.embedding(self.features(images, partition, mean_shift(images, partition)), partition)


def training_step(front: Front, images: Tensor) -> Callable[[], None]:
    """A forward and a backward pass that reaches every parameter, as a call."""
    def step() -> None:
        front.zero_grad()
        tokens = front(images)
        tokens.backward(torch.ones_like(tokens))

    return step


def median_ms(run: Callable[[], object], device: str, repeats: int, warmups: int = 3,
              clock: Callable[[], float] = time.perf_counter) -> float:
    """Median time of a call in milliseconds, by the host's clock or another, from an idle device to an idle device."""
    wait = torch.cuda.synchronize if device.startswith('cuda') else lambda: None
    times = []
    for i in range(warmups + repeats):
        wait()
        start = clock()
        run()
        wait()
        if i >= warmups:
            times.append(clock() - start)
    return 1e3 * median(times)


def peak_bytes(run: Callable[[], object]) -> int:
    """Largest number of bytes that a call has allocated on the GPU at once, beyond what was there before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
