"""Training of a segmenter on a data set that lies on the device."""

import argparse
import math
from functools import partial

import torch
import torch.nn.functional as F
from augmentation import augment
from packing import IGNORED
from pool import autocast, wait
from recipe import build_optimizer, set_rate, shuffled
from segmenter import Segmenter
from torch import Tensor

from dht_mm.heads.lattice import Lattice
from dht_mm.losses import RegionFocalLoss

CROP_RATIO = (0.8, 1.2)
WARMUP_SHARE = 0.05
UNTIMED_STEPS = 20


def train(model: Segmenter, images: Tensor, labels: Tensor, args: argparse.Namespace) -> dict[str, float]:
    """Train in place.

    Args:
        model: The segmenter.
        images: ``[N, 3, H, W]`` uint8.
        labels: ``[N, H, W]`` uint8.
        args: ``epochs``, ``batch``, ``lr``, ``layer_decay``, ``weight_decay``, ``new_lr``, ``decode_lr``, ``crop`` (least share of an
            image's area), ``colour`` (strength of the jitter), ``loss``, and ``stride``: the loss of pixels is taken at every such row and
            column, from a random first one on. Plain patches take every pixel.

    Returns:
        Number of steps, milliseconds a step, the loss of the last tenth, peak memory.

    Raises:
        RuntimeError: The loss is not finite.
    """
    model.train()
    optimizer = build_optimizer(model, args.lr, args.layer_decay, args.weight_decay, args.new_lr, args.decode_lr)
    steps = max(1, args.epochs * len(images) // args.batch)
    untimed, losses = min(UNTIMED_STEPS, steps - 1), []
    run = partial(_loss, model, images, labels, args)
    if images.is_cuda:
        torch.cuda.reset_peak_memory_stats()
    for step, chosen in enumerate(shuffled(len(images), steps, args.batch, images.device)):
        if step == untimed:
            start = wait(args)
        set_rate(optimizer, step, steps, WARMUP_SHARE)
        with autocast(args):
            loss = model.replay(run, chosen)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
    milliseconds = 1e3 * (wait(args) - start) / (steps - untimed)
    memory = torch.cuda.max_memory_allocated() / 2**30 if images.is_cuda else None
    loss = torch.stack(losses[-max(1, steps // 10):]).mean().item()
    if not math.isfinite(loss):
        raise RuntimeError(f'the loss is {loss}: training diverged, or a batch had more regions than there was room for')
    return dict(steps=steps, ms_per_step=milliseconds, loss=loss, memory_gib=memory)


def _loss(model: Segmenter, images: Tensor, labels: Tensor, args: argparse.Namespace, chosen: Tensor) -> Tensor:
    """The loss of some images ``[B]`` of a data set, newly augmented. It runs on the device alone, so that a CUDA graph can hold it."""
    pixels, classes = augment(images[chosen], labels[chosen], (args.crop, 1.0), CROP_RATIO, args.colour)
    if args.loss == 'focal':
        logits, partition = model.regions(pixels)
        return RegionFocalLoss()(logits, classes, partition, IGNORED)
    stride = 1 if model.variant.partition == 'plain' else args.stride
    lattice = Lattice.random(*classes.shape[1:], stride, classes.device)
    logits, partition = model(pixels, lattice)
    loss = F.cross_entropy(logits, lattice.cut(classes), ignore_index=IGNORED)
    return loss if partition is None else loss.masked_fill(partition.num_regions[0] < 0, torch.nan)  # regions that had no room
