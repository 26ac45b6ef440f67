"""Training of a segmenter on a data set that lies on the device."""

import argparse

import torch
import torch.nn.functional as F
from augmentation import augment
from decoding import Lattice
from packing import IGNORED
from pool import autocast, wait
from recipe import build_optimizer, set_rate, shuffled
from segmenter import Segmenter
from torch import Tensor

CROP_AREA, CROP_RATIO = (0.5, 1.0), (0.8, 1.2)
WARMUP_SHARE = 0.05
UNTIMED_STEPS = 20


def train(model: Segmenter, images: Tensor, labels: Tensor, args: argparse.Namespace) -> dict[str, float]:
    """Train in place.

    Args:
        model: The segmenter.
        images: ``[N, 3, H, W]`` uint8.
        labels: ``[N, H, W]`` uint8.
        args: ``epochs``, ``batch``, ``lr``, ``layer_decay``, ``weight_decay``, ``new_lr``, ``colour`` (strength of the jitter) and
            ``stride``: the loss is taken at every such row and column, from a random first one on. Plain patches take every pixel.

    Returns:
        Number of steps, milliseconds a step, the loss of the last tenth, peak memory.
    """
    model.train()
    optimizer = build_optimizer(model, args.lr, args.layer_decay, args.weight_decay, args.new_lr)
    steps = max(1, args.epochs * len(images) // args.batch)
    untimed, losses = min(UNTIMED_STEPS, steps - 1), []
    stride = 1 if model.variant.partition == 'plain' else args.stride
    if images.is_cuda:
        torch.cuda.reset_peak_memory_stats()
    for step, chosen in enumerate(shuffled(len(images), steps, args.batch, images.device)):
        if step == untimed:
            start = wait(args)
        set_rate(optimizer, step, steps, WARMUP_SHARE)
        pixels, classes = augment(images[chosen], labels[chosen], CROP_AREA, CROP_RATIO, args.colour)
        lattice = Lattice(tuple(torch.randint(stride, (2,)).tolist()), stride)
        with autocast(args):
            logits, _ = model(pixels, lattice)
        loss = F.cross_entropy(logits, lattice.cut(classes), ignore_index=IGNORED)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
    milliseconds = 1e3 * (wait(args) - start) / (steps - untimed)
    memory = torch.cuda.max_memory_allocated() / 2**30 if images.is_cuda else None
    return dict(steps=steps, ms_per_step=milliseconds, loss=torch.stack(losses[-max(1, steps // 10):]).mean().item(), memory_gib=memory)
