"""AdamW with rates that fall from layer to layer, and how the rate goes over the steps."""

import math

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dht_mm.engine import LayerDecayOptimWrapperConstructor


def build_optimizer(model: nn.Module, lr: float, layer_decay: float, weight_decay: float, new_lr: float = 1.0,
                    decode_lr: float = 1.0) -> Optimizer:
    """AdamW whose rates fall towards the input of the model's backbone; none but matrices decay.

    Args:
        model: A model with a ``backbone`` that knows its layers' depths.
        lr: Rate of the last layer.
        layer_decay: Factor from a layer to the one before it.
        weight_decay: Of matrices.
        new_lr: Factor of the rate of all that is not the backbone.
        decode_lr: A further one of what is under ``decode``.
    """
    on_gpu = next(model.parameters()).is_cuda
    keys = {name: dict(lr_mult=new_lr * (decode_lr if name.startswith('decode.') else 1), decay_mult=float(parameter.dim() > 1))
            for name, parameter in model.named_parameters() if not name.startswith('backbone.')}
    construct = LayerDecayOptimWrapperConstructor(
        dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=lr, weight_decay=weight_decay, fused=on_gpu)),
        dict(layer_decay_rate=layer_decay, norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0,
             custom_keys=keys | {'.cls_token': dict(decay_mult=0.0), '.pos_embed': dict(decay_mult=0.0)}))
    optimizer = construct(model).optimizer
    for group in optimizer.param_groups:
        group['full_lr'] = group['lr']
    return optimizer


def set_rate(optimizer: Optimizer, step: int, steps: int, warmup_share: float) -> None:
    """Rates of a step: a linear warm-up, then half a cosine."""
    warmup = max(1, round(warmup_share * steps))
    share = min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * max(0, step - warmup) / max(1, steps - warmup)))
    for group in optimizer.param_groups:
        group['lr'] = group['full_lr'] * share


def shuffled(images: int, steps: int, batch: int, device: torch.device) -> Tensor:
    """``[steps, batch]``: images of each step, every epoch in another order."""
    epochs = -(-steps * batch // images)
    return torch.cat([torch.randperm(images) for _ in range(epochs)])[:steps * batch].view(steps, batch).to(device)
