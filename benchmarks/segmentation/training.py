"""Training of a segmenter on a data set that lies on the device."""

import math
import time

import torch
import torch.nn.functional as F
from augmentation import augment
from decoding import Lattice
from packing import IGNORED
from segmenter import Segmenter
from torch import Tensor
from torch.optim import Optimizer

from dht_mm.engine import LayerDecayOptimWrapperConstructor

WARMUP_SHARE = 0.05
UNTIMED_STEPS = 20


def build_optimizer(model: Segmenter, lr: float, layer_decay: float, weight_decay: float) -> Optimizer:
    """AdamW with rates that fall towards the input; none but matrices decay."""
    on_gpu = next(model.parameters()).is_cuda
    construct = LayerDecayOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=lr, weight_decay=weight_decay, fused=on_gpu)),
        dict(layer_decay_rate=layer_decay, norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0,
             custom_keys={'.cls_token': dict(decay_mult=0.0), '.pos_embed': dict(decay_mult=0.0)}))
    return construct(model).optimizer


def rate(step: int, steps: int) -> float:
    """Share of the learning rate: linear warm-up, then half a cosine."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    return min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * max(0, step - warmup) / max(1, steps - warmup)))


def train(model: Segmenter, images: Tensor, labels: Tensor, epochs: int, batch: int, colour: float, stride: int, optimizer: Optimizer,
          autocast: torch.autocast) -> dict[str, float]:
    """Train in place.

    Args:
        model: The segmenter.
        images: ``[N, 3, H, W]`` uint8.
        labels: ``[N, H, W]`` uint8.
        epochs: Passes over the images.
        batch: Images a step.
        colour: Strength of the jitter.
        stride: The loss is taken at every such row and column, from a random first one on; plain patches take every pixel.
        optimizer: Its groups' rates follow :func:`rate`.
        autocast: The precision.

    Returns:
        Milliseconds a step, the loss of the last tenth, peak memory.
    """
    model.train()
    model.backbone.tokenizer.train(model.variant.end_to_end)
    steps = max(1, epochs * len(images) // batch)
    order = torch.cat([torch.randperm(len(images)) for _ in range(-(-steps * batch // len(images)))]).to(images.device)
    full = [group['lr'] for group in optimizer.param_groups]
    losses, start = [], time.perf_counter()
    if images.is_cuda:
        torch.cuda.reset_peak_memory_stats()
    stride = 1 if model.variant.partition == 'plain' else stride
    for step in range(steps):
        if step == min(UNTIMED_STEPS, steps - 1):
            start = _wait(images)
        for group, lr in zip(optimizer.param_groups, full, strict=True):
            group['lr'] = lr * rate(step, steps)
        chosen = order[step * batch:(step + 1) * batch]
        pixels, classes = augment(images[chosen], labels[chosen], colour)
        lattice = Lattice(tuple(torch.randint(stride, (2,)).tolist()), stride)
        with autocast:
            logits, _ = model(pixels, lattice)
        loss = F.cross_entropy(logits, lattice.cut(classes), ignore_index=IGNORED)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
    seconds = _wait(images) - start
    last = torch.stack(losses[-max(1, steps // 10):]).mean().item()
    memory = torch.cuda.max_memory_allocated() / 2**30 if images.is_cuda else None
    return dict(steps=steps, ms_per_step=1e3 * seconds / (steps - min(UNTIMED_STEPS, steps - 1)), loss=last, memory_gib=memory)


def _wait(tensor: Tensor) -> float:
    """The time when the device is done."""
    if tensor.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()
