"""Time and memory of a training step: dHT-ViT beside timm's plain ViT with as many tokens, everything from images to AdamW included.

    python benchmarks/backbone/train.py --images ../shared/images --tokenizer TOKENIZER.pth --json train.json

The tokenizer's share is what a step takes less when the partition is given. Memory is the highest during a step, without weights and
the optimizer's state; CUDA graphs (--graph, on both sides) keep theirs between steps, which is not measured.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from common import (
    NUM_CLASSES,
    GivenPartition,
    Kind,
    autocast,
    device_name,
    dht_vit,
    fit_budget,
    kinds,
    median_ms,
    parser,
    photographs,
    plain_tokens,
    plain_vit,
    save,
    table,
)
from torch import Tensor, nn


def parse_args() -> argparse.Namespace:
    result = parser(__doc__)
    result.add_argument('--tokens', type=float, default=197,
                        help='tokens of an image on average, class token included (default: %(default)s)')
    result.add_argument('--frozen', action='store_true', help='do not train the tokenizer')
    return result.parse_args()


def training_step(model: nn.Module, images: Tensor, args: argparse.Namespace) -> Callable[[], None]:
    """One step on a batch, by a function."""
    model.train()
    on_gpu = images.is_cuda
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4, fused=on_gpu)
    scaler = torch.amp.GradScaler(images.device.type, enabled=args.dtype == 'float16')
    classes = torch.arange(len(images), device=images.device) % NUM_CLASSES

    def step() -> None:
        with autocast(args):
            loss = F.cross_entropy(model(images), classes)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return step


def peak_mib(step: Callable[[], None], kind: Kind, args: argparse.Namespace) -> float | None:
    """Highest memory during a step above that before it; None without a GPU, and with graphs."""
    if torch.device(args.device).type != 'cuda' or kind.graph:
        return None
    step()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def row_of(arch: str, kind: Kind, images: Tensor, args: argparse.Namespace) -> dict[str, object]:
    """A row of the table."""
    ours, given, plain = dht_vit(arch, args, kind), dht_vit(arch, args, kind), plain_vit(arch, args, kind)
    if args.frozen:
        ours.backbone.tokenizer.norm_eval = True
        ours.backbone.tokenizer.requires_grad_(False)
    tokens = fit_budget(ours.train(), images, args.tokens)
    with torch.no_grad():
        given.backbone.tokenizer = GivenPartition(ours.backbone.tokenizer(images))
    steps = {'plain': training_step(plain, images, args), 'ours': training_step(ours, images, args),
             'given': training_step(given, images, args)}
    times = median_ms(steps, args)
    memory = {name: peak_mib(steps[name], kind, args) for name in ('plain', 'ours')}
    return dict(
        model=f'dHT-{arch}/16', tokenizer='frozen' if args.frozen else 'trained', blocks=str(kind), tokens=tokens, step_ms=times['ours'],
        tokenizer_ms=times['ours'] - times['given'], tokenizer_share=1 - times['given'] / times['ours'],
        plain_tokens=plain_tokens(args.size), plain_step_ms=times['plain'], ratio=times['ours'] / times['plain'],
        memory_mib=memory['ours'], plain_memory_mib=memory['plain'],
        memory_ratio=memory['ours'] / memory['plain'] if memory['plain'] else None)


def main() -> None:
    args = parse_args()
    print(device_name(args))
    images = photographs(args)
    rows = [row_of(arch, kind, images, args) for arch in args.archs for kind in kinds(args)]
    table(rows)
    save(args, rows)


if __name__ == '__main__':
    main()
