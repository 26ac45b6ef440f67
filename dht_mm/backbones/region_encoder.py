"""The part of a backbone behind the features of regions: stock operators on padded tensors, which ONNX can hold."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dht_mm.encoder.packing import PaddedAttention
from dht_mm.structures import Partition
from dht_mm.tokenizer import mean_shift

from .dht_vit import DHTViT


class _PaddedLayout(NamedTuple):
    """What blocks read of a :class:`dht_mm.encoder.TokenLayout`, of sequences that are padded already."""

    batch: int
    longest: int
    mask: Tensor

    def attention(self, dtype: torch.dtype, head_dims: int) -> PaddedAttention:
        return PaddedAttention(self.batch, self.longest, None, self.mask[:, None, None])


class RegionEncoder(nn.Module):
    """Embedding and encoder of a :class:`DHTViT` on padded features of regions; it shares the backbone's weights.

    For export: the tokenizer and the features are operators of this package, so :meth:`features` computes them outside.

    Args:
        backbone: The backbone, in evaluation. The last of its ``out_indices`` is output, as ``out_type='raw'`` orders it.

    Raises:
        ValueError: The backbone is in training, or compiles its blocks.
    """

    def __init__(self, backbone: DHTViT):
        super().__init__()
        if backbone.training:
            raise ValueError('backbone must be in evaluation, call eval() first')
        if any(block.compiled for block in backbone.encoder.blocks):
            raise ValueError('backbone must have compile_blocks=False, got True')
        self.embedding, self.encoder, self.index = backbone.embedding, backbone.encoder, backbone.out_indices[-1]
        self.num_cls = 0 if self.embedding.cls_token is None else 1
        self.eval()

    def forward(self, filled: Tensor, pixels: Tensor, position: Tensor, third: Tensor | None = None,
                fourth: Tensor | None = None) -> Tensor:
        """Encode padded features.

        Args:
            filled: ``[B, L]`` bool, which rows hold a region: in each image the first ones.
            pixels: ``[B, L, C q q]`` float.
            position: ``[B, L, p_y p_x]`` float.
            third: ``[B, L, dims]`` float, the next group of a backbone that has one: ``gradient`` or ``form``.
            fourth: The last of a backbone that has both.

        Returns:
            ``[B, 1 + L, D]``: the class token, if there is one, then regions; rows that hold none are zero.
        """
        regions = self.embedding.region_tokens([rows for rows in (pixels, position, third, fourth) if rows is not None])
        batch, longest = pixels.shape[0], pixels.shape[1] + self.embedding.num_prefix
        prefix = self.embedding.prefix_tokens().expand(batch, -1, -1)
        mask = torch.cat([filled.new_ones(batch, self.embedding.num_prefix), filled], 1)
        tokens = self.embedding.pre_norm(torch.cat([prefix, regions], 1)).flatten(0, 1)
        encoded = self.encoder(tokens, _PaddedLayout(batch, longest, mask), (self.index,))[self.index]
        encoded = encoded.view(batch, longest, -1) * mask[:, :, None]
        return torch.cat([encoded[:, :self.num_cls], encoded[:, self.embedding.num_prefix:]], 1)

    @staticmethod
    @torch.no_grad()
    def features(backbone: DHTViT, images: Tensor, partition: Partition | None = None) -> tuple[Tensor, ...]:
        """What :meth:`forward` takes, of images and their regions.

        Args:
            backbone: The backbone, in evaluation.
            images: ``[B, C, H, W]`` float, normalised.
            partition: The regions; by default those that the backbone's tokenizer finds.
        """
        partition = backbone.tokenizer(images) if partition is None else partition
        rows = backbone.features(images, partition, mean_shift(images, partition) if backbone.inject_mean else None)
        count = partition.num_regions.long()
        filled = torch.arange(int(count.max()), device=count.device) < count[:, None]
        return filled, *(_padded(group[:int(count.sum())], filled) for group in rows)


def _padded(rows: Tensor, filled: Tensor) -> Tensor:
    """``[R, dims]`` to ``[B, L, dims]``."""
    padded = rows.new_zeros(*filled.shape, rows.shape[1])
    padded[filled] = rows
    return padded
