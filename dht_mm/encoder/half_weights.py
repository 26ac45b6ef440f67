"""Weights of blocks in half precision, cast all at once and beside other work of a GPU."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .block import Block
from .scaling import LayerScale


@contextmanager
def half_weights(blocks: Sequence[Block]) -> Iterator[None]:
    """Let linear maps hold the weights that autocast and layer scale would make of them, where autocast is on and gradients are off.

    Autocast casts each weight where it is used, in the line of kernels that wait for one another. Here a GPU casts them on a stream of
    their own, from the beginning on, and the first block waits for it. The outputs of blocks are the same bits. The blocks are changed
    meanwhile, so nothing else may use them. Maps that something else than ``nn.Linear`` makes the weights of are left as they are.

    Args:
        blocks: Blocks in their order.
    """
    device = blocks[0].norm1.weight.device.type
    if torch.is_grad_enabled() or not torch.is_autocast_enabled(device):
        yield
        return
    dtype = torch.get_autocast_dtype(device)
    factors = _folded_scales(blocks) if dtype != torch.float16 else {}  # which has no room for their product, see scaled_linear
    held = [(linear._parameters, name, weight, factors.get(linear)) for block in blocks for linear in block.modules()
            if _is_plain(linear) for name, weight in linear._parameters.items() if weight is not None]
    halves = [nn.Parameter(torch.empty_like(weight, dtype=dtype), requires_grad=False) for _, _, weight, _ in held]
    scales = [(block, name) for block in blocks for name in ('ls1', 'ls2') if block._modules[name] in factors.values()]
    kept = [block._modules[name] for block, name in scales]
    with _beside(blocks[0], lambda: _cast([(weight, scale) for _, _, weight, scale in held], halves)):
        try:
            for (place, name, _, _), half in zip(held, halves, strict=True):
                place[name] = half
            for block, name in scales:
                block._modules[name] = nn.Identity()
            yield
        finally:
            for place, name, weight, _ in held:
                place[name] = weight
            for (block, name), scale in zip(scales, kept, strict=True):
                block._modules[name] = scale


def _folded_scales(blocks: Sequence[Block]) -> dict[nn.Module, LayerScale]:
    """The layer scales that multiply weights, by the linear map before them."""
    pairs = [pair for block in blocks for pair in ((block.attn.proj, block.ls1), (block.mlp.fc2, block.ls2))]
    return {linear: scale for linear, scale in pairs if _is_plain(linear) and isinstance(scale, LayerScale)}


def _is_plain(module: nn.Module) -> bool:
    """Whether it is a linear map whose weights are its own, in float32."""
    own = type(module) is nn.Linear and module._parameters.keys() == {'weight', 'bias'}
    return own and all(weight.dtype == torch.float32 for weight in module.parameters())


def _cast(weights: Sequence[tuple[Tensor, LayerScale | None]], halves: Sequence[Tensor]) -> None:
    plain = [(weight, half) for (weight, scale), half in zip(weights, halves, strict=True) if scale is None]
    torch._foreach_copy_([half for _, half in plain], [weight for weight, _ in plain])
    for (weight, scale), half in zip(weights, halves, strict=True):
        if scale is not None:  # computed in float32 and rounded once, in one kernel
            torch.mul(weight, scale.gamma[:, None] if weight.dim() == 2 else scale.gamma, out=half)


@contextmanager
def _beside(first: Block, work: Callable[[], None]) -> Iterator[None]:
    """Do work, on a GPU on another stream, for which the forward of a block waits."""
    if not first.norm1.weight.is_cuda:
        work()
        yield
        return
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work()
    hook = first.register_forward_pre_hook(lambda *_: torch.cuda.current_stream().wait_stream(side))
    try:
        yield
    finally:
        hook.remove()
