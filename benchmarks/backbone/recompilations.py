"""How often compiled blocks are compiled again while the number of tokens changes from step to step, in training and in evaluation.

    python benchmarks/backbone/recompilations.py --images ../shared/images --archs small --batch 8

Every step asks for another number of regions and takes other images of the batch. Counted are the graphs that torch's compiler makes in
the first two steps and in all that follow.
"""

import argparse
import random

import torch
from common import Kind, autocast, device_name, dht_vit, parser, photographs, save, set_budget, table
from torch import Tensor, nn
from torch._dynamo.utils import counters


def parse_args() -> argparse.Namespace:
    result = parser(__doc__)
    result.add_argument('--total', type=int, default=200, help='steps (default: %(default)s)')
    result.add_argument('--most', type=int, default=400, help='largest number of regions asked for (default: %(default)s)')
    return result.parse_args()


def one_step(model: nn.Module, images: Tensor, training: bool, args: argparse.Namespace) -> None:
    """A step without an optimizer, which does not matter here."""
    model.train(training)
    with torch.set_grad_enabled(training), autocast(args):
        loss = model(images).square().mean()
    if training:
        loss.backward()
        model.zero_grad()


def row_of(model: nn.Module, images: Tensor, training: bool, args: argparse.Namespace) -> dict[str, object]:
    """The graphs of many steps of one kind."""
    draw, counts, graphs = random.Random(0), set(), [counters['stats']['unique_graphs']]
    handle = model.backbone.encoder.register_forward_pre_hook(lambda _, inputs: counts.add(len(inputs[0])))
    for step in range(args.total):
        set_budget(model, draw.randint(min(20, args.most), args.most))
        chosen = torch.randperm(len(images))[:draw.randint(2, len(images))]
        one_step(model, images[chosen.to(images.device)], training, args)
        if step in (1, args.total - 1):
            graphs.append(counters['stats']['unique_graphs'])
    handle.remove()
    first, *_, last = graphs
    return dict(mode='training' if training else 'evaluation', steps=args.total, token_counts=len(counts),
                graphs_in_two_steps=graphs[1] - first, graphs_after=last - graphs[1],
                limit_reached=sum(counters['recompile_limit'].values()))


def main() -> None:
    args = parse_args()
    print(device_name(args))
    images, rows = photographs(args), []
    for arch in args.archs:
        model = dht_vit(arch, args, Kind(compiled=True, graph=False))
        rows += [dict(model=f'dHT-{arch}/16') | row_of(model, images, training, args) for training in (True, False)]
    table(rows)
    save(args, rows)


if __name__ == '__main__':
    main()
