"""Attention within the images of a packed sequence, by a kernel for packed sequences or by padding."""

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# The operator beneath torch.nn.attention.varlen, which wraps it in Python twice, forward and backward, at several times its cost to the
# host. It is no public interface: where its arguments are not these, sequences are padded.
_flash_attention = torch.ops.aten._flash_attention_forward.default
_ARGUMENTS = ('query', 'key', 'value', 'cum_seq_q', 'cum_seq_k', 'max_q', 'max_k', 'dropout_p', 'is_causal', 'return_debug_mask')
_AS_EXPECTED = tuple(argument.name for argument in _flash_attention._schema.arguments if not argument.kwarg_only) == _ARGUMENTS


class PackedAttention(NamedTuple):
    """Scaled dot-product attention within images on the packed tokens, scale ``1 / sqrt(d)``.

    Attributes:
        offsets: ``[B + 1]`` int32, first token of each image, then their number N.
        longest: Tokens of the longest image.
    """

    offsets: Tensor
    longest: int

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Half-precision queries, keys and values ``[N, heads, d]`` on a GPU to ``[N, heads, d]``."""
        return _flash_attention(q, k, v, self.offsets, self.offsets, self.longest, self.longest, 0.0, False, False)[0]


class PaddedAttention(NamedTuple):
    """The same on sequences padded to the longest image, with the padding masked.

    Attributes:
        batch: Images, B.
        longest: Tokens L of the longest image.
        places: ``[N]`` int64, place of each token among the ``B L`` padded ones; None where no image is padded.
        mask: ``[B, 1, 1, L]`` bool, the places that hold a token; None likewise.
    """

    batch: int
    longest: int
    places: Tensor | None
    mask: Tensor | None

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries, keys and values ``[N, heads, d]`` to ``[N, heads, d]``."""
        q, k, v = (self.pad(x).transpose(1, 2) for x in (q, k, v))  # [B, heads, L, d]
        return self.unpad(F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask).transpose(1, 2))

    def pad(self, packed: Tensor) -> Tensor:
        """``[N, ...]`` to ``[B, L, ...]``, zero where an image has no more tokens."""
        if self.places is not None:
            padded = packed.new_zeros(self.batch * self.longest, *packed.shape[1:])
            packed = padded.index_copy_(0, self.places, packed)
        return packed.view(self.batch, self.longest, *packed.shape[1:])

    def unpad(self, padded: Tensor) -> Tensor:
        """``[B, L, ...]`` to ``[N, ...]``."""
        packed = padded.flatten(0, 1)
        return packed if self.places is None else packed.index_select(0, self.places)


def has_packed_kernel(device: torch.device, dtype: torch.dtype, head_dims: int) -> bool:
    """Whether torch has a kernel for packed sequences of this kind."""
    if not _AS_EXPECTED or device.type != 'cuda' or dtype not in (torch.float16, torch.bfloat16):
        return False
    return head_dims % 8 == 0 and head_dims <= 256 and _has_flash_attention(device)


@cache
def _has_flash_attention(device: torch.device) -> bool:
    built = torch.version.hip is None and torch.backends.cuda.is_flash_attention_available()
    return built and torch.cuda.get_device_capability(device) >= (8, 0)
