"""What a transformer attends by, as features of regions."""

import torch
from torch import Tensor, nn

from dht_mm.embedding import split
from dht_mm.structures import Partition, RegionTokens


@torch.no_grad()
def region_keys(backbone: nn.Module, images: Tensor, block: int = -1) -> tuple[Tensor, Partition]:
    """Keys of the regions in one of a backbone's attentions, all heads side by side.

    Args:
        backbone: A :class:`DHTViT` with ``out_type='tokens'`` whose ``out_indices`` reach the block.
        images: ``[B, C, H, W]`` float, normalised.
        block: Which block, negative ones counted from the end.

    Returns:
        ``[R, D]`` keys, before any norm of them, and the regions.

    Raises:
        TypeError: ``backbone`` does not give tokens.
    """
    taken = []
    hook = backbone.encoder.blocks[block].attn.qkv.register_forward_hook(lambda module, inputs, output: taken.append(output))
    try:
        outputs = backbone(images)
    finally:
        hook.remove()
    if not isinstance(outputs, RegionTokens):
        raise TypeError(f"backbone must have out_type='tokens', but gives {type(outputs).__name__}")
    keys = taken[0].chunk(3, 1)[1]
    return split(keys, outputs.partition, backbone.embedding.num_prefix)[1], outputs.partition
