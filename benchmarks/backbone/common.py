"""What the benchmarks of the backbone share: photographs in batches, a plain and a dHT vision transformer of one size, and times."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from dht_mm.backbones import DHTViT
from dht_mm.backbones.cuda_graph import CUDAGraphs
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer

sys.path.append(str(Path(__file__).resolve().parents[1]))
from photographs import load_batch  # noqa: E402

# timm's name of each capacity; the smallest is for trying the scripts out.
ARCHS = dict(tiny=dict(embed_dims=192, num_layers=12, num_heads=3), small='small', base='base', large='large')
NUM_CLASSES = 1000


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark here has."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument('--images', type=Path, default=Path('../shared/images'), help='folder of photographs (default: %(default)s)')
    result.add_argument('--tokenizer', type=Path, help='weights of a tokenizer; without, it is initialised at random with seed 0')
    result.add_argument('--compactness', type=float, default=0.01, help='of the tokenizer (default: %(default)s)')
    result.add_argument('--budget', choices=('hard', 'soft'), default='hard', help='kind of token budget (default: %(default)s)')
    result.add_argument('--archs', nargs='+', choices=list(ARCHS), default=['small', 'base'], help='capacities (default: small base)')
    result.add_argument('--batch', type=int, default=64, help='images (default: %(default)s)')
    result.add_argument('--size', type=int, default=224, help='side of the images (default: %(default)s)')
    result.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    result.add_argument('--dtype', choices=('bfloat16', 'float16', 'float32'), default='bfloat16',
                        help='of autocast; float32 is without (default: %(default)s)')
    result.add_argument('--runs', type=int, default=5, help='runs of which the median is taken (default: %(default)s)')
    result.add_argument('--steps', type=int, default=10, help='steps of a run (default: %(default)s)')
    result.add_argument('--eager-only', action='store_true', help='leave out the models with compiled blocks')
    result.add_argument('--graph', action='store_true', help='take each kind of model as CUDA graphs too')
    result.add_argument('--json', type=Path, help='file to write the figures to')
    return result


class Kind(NamedTuple):
    """A way to run a model."""

    compiled: bool
    graph: bool

    def __str__(self) -> str:
        return ('compiled' if self.compiled else 'eager') + (' + graph' if self.graph else '')


def kinds(args: argparse.Namespace) -> list[Kind]:
    """The ways that the options ask for."""
    return [Kind(compiled, graph) for compiled in ([False] if args.eager_only else [False, True])
            for graph in ([False, True] if args.graph else [False])]


def photographs(args: argparse.Namespace) -> Tensor:
    """``[B, 3, H, W]``, see :func:`load_batch`: of each photograph a square of random size."""
    def cut(photo: Image.Image, random: np.random.Generator) -> Image.Image:
        side = int(min(photo.size) * random.uniform(0.5, 1))
        left, top = (int(random.uniform(0, length - side)) for length in photo.size)
        return photo.resize((args.size, args.size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return load_batch(args.images, args.batch, args.device, cut)


class Classifier(nn.Module):
    """DHTViT with a linear map of its class token, as timm's models have one."""

    def __init__(self, backbone: DHTViT):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.embed_dims, NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` to ``[B, classes]``."""
        return self.head(self.backbone(images)[0])


class GivenPartition(nn.Module):
    """In the place of a tokenizer: always the same partition. What is left of a step is what the tokenizer does not cost."""

    def __init__(self, partition: Partition):
        super().__init__()
        self.partition = replace(partition, mean=partition.mean.detach(), color=partition.color.detach())

    def forward(self, images: Tensor) -> Partition:
        """The partition, as a new object that has nothing in store."""
        return replace(self.partition)


def dht_vit(arch: str, args: argparse.Namespace, kind: Kind) -> Classifier:
    """A dHT-ViT/16 without stochastic depth; as CUDA graphs, with room for twice as many regions as the images have before any budget."""
    torch.manual_seed(0)
    tokenizer = DHTTokenizer(compactness=args.compactness, token_budget=dict(mode=args.budget))
    if args.tokenizer:
        load_tokenizer(tokenizer, args.tokenizer)
    if kind.graph:
        tokenizer.capacity = 2 * int(tokenizer.to(args.device).eval().hierarchy(photographs(args)).offsets[-1])
    backbone = DHTViT(tokenizer, ARCHS[arch], args.size, drop_path_rate=0.0, compile_blocks=kind.compiled, cuda_graph=kind.graph)
    return Classifier(backbone).to(args.device)


class Graphed(nn.Module):
    """Another model as CUDA graphs."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.graphs = model, CUDAGraphs()

    def forward(self, images: Tensor) -> Tensor:
        """What the model gives."""
        return self.graphs(self.model, self.model, images)


def plain_vit(arch: str, args: argparse.Namespace, kind: Kind, size: int | None = None) -> nn.Module:
    """timm's ViT/16, the same way, for images of ``--size`` or another size."""
    torch.manual_seed(0)
    model = timm.create_model(f'vit_{arch}_patch16_224', img_size=size or args.size, num_classes=NUM_CLASSES).to(args.device)
    for block in model.blocks if kind.compiled else ():
        block.compile()
    return Graphed(model) if kind.graph else model


def plain_tokens(size: int) -> int:
    """Tokens that a plain ViT/16 has of an image of this size."""
    return (size // 16)**2 + 1


def set_budget(model: Classifier, target: int) -> None:
    """Ask for a number of regions, in training and in evaluation."""
    tokenizer = model.backbone.tokenizer
    tokenizer.token_budget = replace(tokenizer.token_budget, train=target, test=target)


@torch.no_grad()
def mean_tokens(model: Classifier, images: Tensor) -> float:
    """Tokens of an image on average, the class token included."""
    return float(model.backbone.tokenizer(images).num_regions.float().mean()) + 1


def fit_budget(model: Classifier, images: Tensor, tokens: float) -> float:
    """Set the budget that comes nearest to a mean number of tokens, by bisection; what it comes to."""
    low, high, found = 1, int(4 * tokens), {}
    while low <= high:
        target = (low + high) // 2
        set_budget(model, target)
        found[target] = mean_tokens(model, images)
        low, high = (target + 1, high) if found[target] < tokens else (low, target - 1)
    best = min(found, key=lambda target: (abs(found[target] - tokens), target))
    set_budget(model, best)
    return found[best]


def autocast(args: argparse.Namespace) -> torch.autocast:
    """The precision asked for."""
    device = torch.device(args.device).type
    return torch.autocast(device, getattr(torch, args.dtype) if args.dtype != 'float32' else None, enabled=args.dtype != 'float32')


def wait(args: argparse.Namespace) -> None:
    """Until the device is idle."""
    if torch.device(args.device).type == 'cuda':
        torch.cuda.synchronize()


def median_ms(steps: dict[str, Callable[[], object]], args: argparse.Namespace, warmups: int = 3) -> dict[str, float]:
    """Milliseconds a step by the host's clock, from an idle device to an idle device: the median of runs that take turns."""
    times = {name: [] for name in steps}
    for run in range(args.runs + 1):
        for name, step in steps.items():
            count = args.steps if run else warmups
            wait(args)
            start = time.perf_counter()
            for _ in range(count):
                step()
            wait(args)
            times[name].append((time.perf_counter() - start) * 1e3 / count)
    return {name: median(runs[1:]) for name, runs in times.items()}


def device_name(args: argparse.Namespace) -> str:
    """What it runs on."""
    on_gpu = torch.device(args.device).type == 'cuda'
    return f'{torch.cuda.get_device_name() if on_gpu else "CPU"}, torch {torch.__version__}, {args.dtype}, batch {args.batch}, {args.size}²'


def table(rows: list[dict[str, object]]) -> None:
    """Print rows in Markdown."""
    lines = [list(rows[0]), ['---'] * len(rows[0])]
    lines += [[f'{value:.4g}' if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    print('\n'.join('| ' + ' | '.join(line) + ' |' for line in lines), flush=True)


def save(args: argparse.Namespace, rows: list[dict[str, object]]) -> None:
    """Write the figures where ``--json`` says."""
    if args.json:
        options = {name: str(value) for name, value in vars(args).items()}
        args.json.write_text(json.dumps(dict(device=device_name(args), options=options, rows=rows), indent=2) + '\n')
