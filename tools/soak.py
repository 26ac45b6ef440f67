"""Trains on images of changing sizes and logs memory, throughput and errors (``make soak``).

    python tools/soak.py --minutes 10

    python tools/soak.py --device cuda --compile-blocks --bfloat16

A ``DHTViT`` with a classifier of its tokens is trained from random weights on images with shapes in them; each batch has other sizes and
another number of images. The run fails if a step raises, if a loss or a gradient is not finite, or if memory or the time of a step, over
the same work, has grown between the second quarter of the run and the last by more than the limits.

PyTorch lets oneDNN keep a kernel for every number of tokens that its GELU on a CPU has seen, the latest 1024: memory that grows over the
first thousand steps. The run keeps few of them (``ONEDNN_PRIMITIVE_CACHE_CAPACITY``, if not set), so that growth is ours.
"""

import argparse
import ctypes
import gc
import json
import os
import sys
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from dht_mm.backbones.dht_vit import DHTViT
from dht_mm.losses import ImageBCELoss, RegionFocalLoss

CLASSES, IGNORED = 6, 255
SIDES = range(17, 161)
PROBE_SIDES = (96, 112)  # the work that is timed is always the same


@dataclass
class Row:
    """One line of the log.

    Attributes:
        minutes: Since the start.
        steps: Done so far.
        images_per_second: Since the line before.
        probe_ms: Time of a forward and backward of always the same batch; on a CPU that of this process alone.
        memory_mb: Resident memory, or on a GPU that of tensors, after what was freed is given back.
        held_mb: With what the allocator keeps of freed memory.
        loss: Mean since the line before.
        errors: So far.
    """

    minutes: float
    steps: int
    images_per_second: float
    probe_ms: float
    memory_mb: float
    held_mb: float
    loss: float
    errors: int


class Segmenter(nn.Module):
    """A small backbone and one classifier for regions and images."""

    def __init__(self, compile_blocks: bool):
        super().__init__()
        self.backbone = DHTViT(arch=dict(embed_dims=96, num_layers=4, num_heads=3), img_size=128, out_type='tokens',
                               features=dict(gradient=True), compile_blocks=compile_blocks, drop_path_rate=0.1)
        self.classifier = nn.Linear(96, CLASSES)
        self.region_loss, self.image_loss = RegionFocalLoss(), ImageBCELoss()

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        """The sum of both losses."""
        found = self.backbone(images)
        regions, whole = (self.classifier(tokens[-1]) for tokens in (found.tokens, found.cls_tokens))
        return (self.region_loss(regions, classes, found.partition, ignore_index=IGNORED)
                + self.image_loss(whole, classes, ignore_index=IGNORED))


def draw_batch(numbers: np.random.Generator, height: int, width: int, batch: int) -> tuple[Tensor, Tensor]:
    """``[B, 3, H, W]`` noisy images of rectangles and ``[B, H, W]`` classes, some pixels of which are ignored."""
    images = numbers.normal(0, 0.1, (batch, 3, height, width))
    classes = np.zeros((batch, height, width), np.int64)
    for image in range(batch):
        for _ in range(numbers.integers(0, 7)):
            kind = numbers.integers(0, CLASSES)
            (top, bottom), (left, right) = (np.sort(numbers.integers(0, side + 1, 2)) for side in (height, width))
            classes[image, top:bottom, left:right] = kind
            images[image, :, top:bottom, left:right] += numbers.normal(kind / 2 - 1, 0.5, (3, 1, 1))
    classes[numbers.random(classes.shape) < 0.02] = IGNORED
    return torch.from_numpy(images).float(), torch.from_numpy(classes)


class Soak:
    """The run: a model, its optimiser and what was counted."""

    def __init__(self, device: str, compile_blocks: bool, bfloat16: bool, seed: int):
        torch.manual_seed(seed)
        self.autocast = partial(torch.autocast, device, torch.bfloat16, enabled=bfloat16)
        self.numbers, self.device = np.random.default_rng(seed), device
        self.model = Segmenter(compile_blocks).to(device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-3)
        self.probe = [part.to(device) for part in draw_batch(np.random.default_rng(0), *PROBE_SIDES, 2)]
        self.steps, self.images, self.losses, self.errors = 0, 0, [], Counter()

    def step(self) -> None:
        """One step on a batch of a new size; what goes wrong is counted and printed once."""
        height, width = self.numbers.integers(SIDES.start, SIDES.stop, 2)
        batch = [part.to(self.device) for part in draw_batch(self.numbers, height, width, self.numbers.integers(1, 5))]
        try:
            self.losses.append(self.update(*batch))
        except Exception as error:
            kind = f'{type(error).__name__}: {error}'[:200]
            if not self.errors[kind]:
                print(f'step {self.steps} with {batch[0].shape}:\n{traceback.format_exc()}', flush=True)
            self.errors[kind] += 1
        self.steps += 1
        self.images += len(batch[0])

    def update(self, images: Tensor, classes: Tensor) -> float:
        self.optimizer.zero_grad()
        loss = self.loss(images, classes)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if not (loss.isfinite() and norm.isfinite()):
            raise FloatingPointError(f'loss {loss.item()} and gradient norm {norm.item()} must be finite')
        self.optimizer.step()
        return loss.item()

    def loss(self, images: Tensor, classes: Tensor) -> Tensor:
        with self.autocast():
            return self.model(images, classes)

    def probe_ms(self) -> float:
        """The shortest of five forwards and backwards of the same batch, which change no weight."""
        clock = time.perf_counter if self.device == 'cuda' else time.process_time  # a CPU may be shared with others
        times = []
        for _ in range(5):
            start = clock()
            self.loss(*self.probe).backward()
            if self.device == 'cuda':
                torch.cuda.synchronize()
            times.append(1e3 * (clock() - start))
        return min(times)

    def memory_mb(self) -> tuple[float, float]:
        """Memory in use, and with what the allocator keeps of freed memory, which depends on the sizes that were asked for."""
        gc.collect()
        if self.device == 'cuda':
            return torch.cuda.memory_allocated() / 2**20, torch.cuda.memory_reserved() / 2**20
        held = resident_mb()
        if sys.platform == 'linux':
            ctypes.CDLL(None).malloc_trim(0)
        return resident_mb(), held


def resident_mb() -> float:
    return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20


def soak(run: Soak, minutes: float, every: float, log: Path | None) -> list[Row]:
    """Steps for ``minutes`` after a first one, which may compile; a row each ``every`` seconds, printed and appended to ``log``."""
    run.step()
    run.probe_ms()
    start = now = last = time.monotonic()
    rows, images = [], run.images
    while now - start < 60 * minutes:
        run.step()
        now = time.monotonic()
        if now - last < every:
            continue
        rate = (run.images - images) / (now - last)
        rows.append(Row((now - start) / 60, run.steps, rate, run.probe_ms(), *run.memory_mb(),
                        float(np.mean(run.losses or [np.nan])), run.errors.total()))
        images, last = run.images, time.monotonic()
        run.losses.clear()
        print(json.dumps({name: round(value, 3) for name, value in asdict(rows[-1]).items()}), flush=True)
        if log:
            with log.open('a') as file:
                file.write(json.dumps(asdict(rows[-1])) + '\n')
    return rows


def growth(rows: list[Row], name: str) -> float:
    """Median of the last quarter over that of the second."""
    values = [getattr(row, name) for row in rows]
    quarter = len(values) // 4
    return median(values[-quarter:]) / median(values[quarter:2 * quarter])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--minutes', type=float, default=10)
    parser.add_argument('--every', type=float, default=15, help='seconds between lines of the log')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--compile-blocks', action='store_true', help='run the blocks through torch.compile')
    parser.add_argument('--bfloat16', action='store_true', help='train under autocast')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--log', type=Path, help='file to append the lines to, as JSON')
    parser.add_argument('--memory-growth', type=float, default=1.05, help='most growth of memory that is flat')
    parser.add_argument('--time-growth', type=float, default=1.5, help='most growth of the time of a step that is flat')
    options = parser.parse_args()
    if options.minutes * 60 < 8 * options.every:
        parser.error(f'--minutes must leave 8 lines of --every {options.every} seconds, got {options.minutes}')
    os.environ.setdefault('ONEDNN_PRIMITIVE_CACHE_CAPACITY', '16')  # read at its first use
    run = Soak(options.device, options.compile_blocks, options.bfloat16, options.seed)
    rows = soak(run, options.minutes, options.every, options.log)
    if len(rows) < 8:
        sys.exit(f'{run.steps} steps took too long for 8 lines, got {len(rows)}: give more --minutes')
    memory, step_time = growth(rows, 'memory_mb'), growth(rows, 'probe_ms')
    print(f'{run.steps} steps, {run.images} images, {run.errors.total()} errors; memory x{memory:.3f}, time of a step x{step_time:.2f}')
    sys.exit(int(bool(run.errors) or memory > options.memory_growth or step_time > options.time_growth))


if __name__ == '__main__':
    main()
