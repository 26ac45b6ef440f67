"""How much a block attends from one token to every region."""

from typing import NamedTuple

import torch
from torch import Tensor

from .tokens import BlockPass


class RegionAttention(NamedTuple):
    """Attention probabilities of one query token of each image; over all tokens of an image they sum to 1.

    Attributes:
        regions: ``[R, heads]`` float32, the probability of each region's token, in the row order of the partition. Its ``scatter``
            gives the exact maps ``[B, heads, H, W]``: every pixel carries its region's probability.
        prefix: ``[B, P, heads]`` float32, those of the class and register tokens.
    """

    regions: Tensor
    prefix: Tensor


@torch.no_grad()
def region_attention(seen: BlockPass, point: tuple[int, int] | None = None) -> RegionAttention:
    """Attention of a block from the class token, or from the region at a pixel.

    The probabilities of the one query are computed by their definition from what went into the block; the kernels of the forward pass,
    which never hold them, stay as they are.

    Args:
        seen: What :func:`observe_block` returns.
        point: ``(y, x)`` of a pixel, whose region in each image is the query; None for the class token.

    Raises:
        ValueError: There is no such pixel, or no class token to attend from.
    """
    query = _query_rows(seen, point)
    attention = seen.layer.attn
    q, k, _ = attention.qkv(seen.layer.norm1(seen.inputs)).view(-1, 3, attention.num_heads, attention.head_dims).unbind(1)
    q, k = attention.q_norm(q).float(), attention.k_norm(k).float()
    lengths = seen.offsets.diff().tolist()
    each = [_softmax(q[row], keys) for row, keys in zip(query, k.split(lengths), strict=True)]
    return RegionAttention(torch.cat([probability[seen.num_prefix:] for probability in each]),
                           torch.stack([probability[:seen.num_prefix] for probability in each]))


def _query_rows(seen: BlockPass, point: tuple[int, int] | None) -> Tensor:
    """``[B]`` int64, the query's row of the packed tokens."""
    starts = seen.offsets[:-1].long()
    if point is None:
        if not seen.has_cls_token:
            raise ValueError('point must be a pixel for a backbone without class token, got None')
        return starts
    height, width = seen.partition.labels.shape[1:]
    y, x = point
    if not (0 <= y < height and 0 <= x < width):
        raise ValueError(f'point must be (y, x) of a pixel of {height} rows and {width} columns, got {y, x}')
    return starts + seen.num_prefix + seen.partition.labels[:, y, x].long()


def _softmax(query: Tensor, keys: Tensor) -> Tensor:
    """``[heads, d]`` and ``[T, heads, d]`` to ``[T, heads]``."""
    return (torch.einsum('hd,thd->th', query, keys) / query.shape[1]**0.5).softmax(0)
