"""What a token backbone hands to a token head."""

from typing import NamedTuple

from torch import Tensor
from torch.utils._pytree import _register_namedtuple

from .partition import Partition


class RegionTokens(NamedTuple):
    """Packed tokens of a batch, with the partition that places them.

    Attributes:
        tokens: One ``[R, D]`` tensor for each requested block, in the order of ``out_indices``; row order as in ``partition``.
        cls_tokens: One ``[B, D]`` tensor for each requested block; empty for a model without class token.
        partition: Where the tokens lie.
        images: ``[B, C, H, W]``, what the backbone was given, for heads that look at pixels again; None where nobody knows them.
        boxes: ``[R, 4]`` float, the part of the image that each token saw: top, left, bottom, right in pixels, the last two not
            inclusive; None where that is its region's box.
    """

    tokens: tuple[Tensor, ...]
    cls_tokens: tuple[Tensor, ...]
    partition: Partition
    images: Tensor | None = None
    boxes: Tensor | None = None


_register_namedtuple(RegionTokens, serialized_type_name='dht_mm.structures.RegionTokens')  # for torch.export.save
