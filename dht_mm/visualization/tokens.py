"""What any block of a backbone does to the tokens of regions, and colours to paint them with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dht_mm.structures import Partition

COLOR_RANGE = 0.02, 0.98  # quantiles over regions between which a component's colours run: single tokens would squeeze all others
ROUNDING = 1e-6  # of float32: a direction with less than this part of the tokens' size is none


@dataclass(frozen=True)
class BlockPass:
    """What went into a transformer block and what came out, for all tokens of a batch.

    Attributes:
        layer: The block.
        inputs: ``[N, D]``, the packed tokens: image after image, each image's class and register tokens before its regions.
        outputs: ``[N, D]``; those of the last block are not yet normalised.
        offsets: ``[B + 1]`` int32, first token of each image, then N.
        num_prefix: Class and register tokens of an image.
        has_cls_token: Whether the first of them is a class token.
        partition: Where the regions lie.
    """

    layer: nn.Module
    inputs: Tensor
    outputs: Tensor
    offsets: Tensor
    num_prefix: int
    has_cls_token: bool
    partition: Partition

    @property
    def regions(self) -> Tensor:
        """``[R, D]``, the regions' tokens that came out, in the row order of ``partition``."""
        prefix = self.offsets[:-1].long()[:, None] + torch.arange(self.num_prefix, device=self.offsets.device)
        is_region = torch.ones(len(self.outputs), dtype=torch.bool, device=self.outputs.device)
        is_region[prefix.flatten()] = False
        return self.outputs[is_region]


@torch.no_grad()
def observe_block(backbone: nn.Module, images: Tensor, block: int = -1) -> BlockPass:
    """Run a ``DHTViT`` up to one of its blocks and tell what that block does, whatever the backbone is set to output.

    Args:
        backbone: The backbone, in evaluation mode for what it computes there.
        images: ``[B, C, H, W]`` float, normalised.
        block: Number of the block, negative ones counted from the end.

    Raises:
        ValueError: There is no such block.
    """
    if not -backbone.num_layers <= block < backbone.num_layers:
        raise ValueError(f'block must name one of the {backbone.num_layers} blocks, got {block}')
    layer, seen = backbone.encoder.blocks[block], []
    handle = layer.register_forward_hook(lambda _, inputs, output: seen.extend([*inputs[:2], output]))
    try:
        with _output_tokens(backbone, block % backbone.num_layers):
            partition = backbone(images).partition
    finally:
        handle.remove()
    tokens, layout, outputs = seen
    embedding = backbone.embedding
    return BlockPass(layer, tokens, outputs, layout.offsets, embedding.num_prefix, embedding.cls_token is not None, partition)


@contextmanager
def _output_tokens(backbone: nn.Module, block: int) -> Iterator[None]:
    before = backbone.out_type, backbone.out_indices
    backbone.out_type, backbone.out_indices = 'tokens', (block,)
    try:
        yield
    finally:
        backbone.out_type, backbone.out_indices = before


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; every part of the module then is in the mode it was in before."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def principal_colors(tokens: Tensor, size: Tensor) -> Tensor:
    """Colours from the three main directions of tokens (principal components): regions with similar tokens look similar.

    Pixels count alike, so a region weighs as much as it has pixels. Signs are fixed by each direction's largest entry.

    Args:
        tokens: ``[R, D]`` float, of one image, or of several that are to share their colours.
        size: ``[R]`` int, pixels of each region.

    Returns:
        ``[R, 3]`` float64 in [0, 1]; 0.5 in directions in which the tokens do not differ.

    Raises:
        ValueError: There is no token, or not one size each.
    """
    if tokens.dim() != 2 or len(tokens) == 0 or size.shape != tokens.shape[:1]:
        raise ValueError(f'tokens and size must be [R, D] and [R] with R > 0, got {tuple(tokens.shape)} and {tuple(size.shape)}')
    weight = size.double() / size.sum()
    tokens = tokens.double()
    centred = tokens - weight @ tokens
    _, strength, directions = torch.linalg.svd(weight.sqrt()[:, None] * centred, full_matrices=False)
    directions = directions[:3] * directions[:3].gather(1, directions[:3].abs().argmax(1, keepdim=True)).sign()
    found = strength[:3] > ROUNDING * (weight.sqrt()[:, None] * tokens).norm()
    colors = torch.full_like(tokens[:, :1], 0.5).repeat(1, 3)
    for channel in found.nonzero()[:, 0].tolist():
        colors[:, channel] = _spread(centred @ directions[channel])
    return colors


def _spread(values: Tensor) -> Tensor:
    """Numbers scaled so that most lie in [0, 1], the others at its ends."""
    low, high = values.quantile(values.new_tensor(COLOR_RANGE))
    return ((values - low) / (high - low)).clamp(0, 1) if high > low else torch.full_like(values, 0.5)
