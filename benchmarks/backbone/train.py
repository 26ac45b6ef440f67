"""Time and memory of a training step: dHT-ViT beside timm's plain ViT with as many tokens, everything from images to AdamW included.

    python benchmarks/backbone/train.py --images ../shared/images --tokenizer TOKENIZER.pth --json train.json

The tokenizer's share is what a step takes less when the partition is given. Memory is the highest during a step, without weights and
the optimizer's state.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from common import (
    NUM_CLASSES,
    GivenPartition,
    autocast,
    device_name,
    dht_vit,
    fit_budget,
    median_ms,
    parser,
    photographs,
    plain_vit,
    save,
    table,
)
from torch import Tensor, nn


def parse_args() -> argparse.Namespace:
    result = parser(__doc__)
    result.add_argument('--tokens', type=float, default=197, help='tokens of an image on average, class token included (default: %(default)s)')
    result.add_argument('--eager-only', action='store_true', help='leave out the models with compiled blocks')
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


def peak_mib(step: Callable[[], None], args: argparse.Namespace) -> float:
    """Highest memory during a step above that before it; NaN without a GPU."""
    if not args.device.startswith('cuda'):
        return float('nan')
    step()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def rows_of(arch: str, compiled: bool, images: Tensor, args: argparse.Namespace) -> list[dict[str, object]]:
    """The plain ViT's row and ours."""
    ours, given, plain = dht_vit(arch, args, compiled), dht_vit(arch, args, compiled), plain_vit(arch, args, compiled)
    tokens = fit_budget(ours.train(), images, args.tokens)
    with torch.no_grad():
        given.backbone.tokenizer = GivenPartition(ours.backbone.tokenizer(images))
    steps = {'plain': training_step(plain, images, args), 'ours': training_step(ours, images, args),
             'given': training_step(given, images, args)}
    times = median_ms(steps, args)
    memory = {name: peak_mib(steps[name], args) for name in ('plain', 'ours')}
    blocks = 'compiled' if compiled else 'eager'
    return [
        dict(model=f'ViT-{arch}/16', blocks=blocks, tokens=float(plain.pos_embed.shape[1]), step_ms=times['plain'], ratio=1.0,
             tokenizer_ms=0.0, tokenizer_share=0.0, memory_mib=memory['plain'], memory_ratio=1.0),
        dict(model=f'dHT-{arch}/16', blocks=blocks, tokens=tokens, step_ms=times['ours'], ratio=times['ours'] / times['plain'],
             tokenizer_ms=times['ours'] - times['given'], tokenizer_share=1 - times['given'] / times['ours'],
             memory_mib=memory['ours'], memory_ratio=memory['ours'] / memory['plain'])]


def main() -> None:
    args = parse_args()
    print(device_name(args))
    images, rows = photographs(args), []
    for arch in args.archs:
        for compiled in (False,) if args.eager_only else (False, True):
            rows += rows_of(arch, compiled, images, args)
    table(rows)
    save(args, rows)


if __name__ == '__main__':
    main()
