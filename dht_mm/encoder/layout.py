"""Where the tokens of each image lie in a packed sequence."""

from functools import cached_property

import torch
from torch import Tensor

from .packing import PackedAttention, PaddedAttention, has_packed_kernel


class TokenLayout:
    """The bounds of the images in a packed sequence; made once a forward, read by every block.

    Unless ``longest`` is given, the lengths of the shortest and the longest image start their way to the host when a layout is made, and
    are waited for where they are first read. Made as soon as the regions are known, with work for the GPU after it, it costs no wait.

    Args:
        offsets: ``[B + 1]`` int32, first token of each image, then the end of the last.
        total: Tokens N. Knowing it spares a read-back.
        longest: No image has more tokens. With it nothing is read back, and tokens from ``offsets[-1]`` on are spare: no image's tokens
            attend to them. They attend to each other, in B sequences, so that they stay finite and pass on no gradient if they get none.
    """

    def __init__(self, offsets: Tensor, total: int, longest: int | None = None):
        self.offsets = offsets
        self.total = total
        self._attention: PackedAttention | PaddedAttention | None = None
        self._longest = longest
        if longest is None:
            self._sequences = offsets
            self._ends = torch.stack(offsets.diff().aminmax()).to('cpu', non_blocking=True)
            self._arrival = torch.cuda.current_stream(offsets.device).record_event() if offsets.is_cuda else None
        else:
            share = -(-total // len(self))
            ends = torch.arange(1, len(self) + 1, dtype=offsets.dtype, device=offsets.device) * share + offsets[-1]
            self._sequences = torch.cat([offsets, ends.clamp_max(total)])
            self._longest = min(max(longest, share), total)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.offsets) - 1

    @cached_property
    def image(self) -> Tensor:
        """``[N]`` int64, the image of each token; of spare ones the last."""
        return self._owner(self.offsets)

    def ends(self) -> tuple[int, int]:
        """Tokens of the shortest and of the longest image, or bounds of them."""
        if self._longest is not None:
            return 0, self._longest
        if self._arrival is not None:
            self._arrival.synchronize()
        shortest, longest = self._ends.tolist()
        return shortest, longest

    def attention(self, dtype: torch.dtype, head_dims: int) -> PackedAttention | PaddedAttention:
        """How the tokens attend to each other: chosen at the first call, for all blocks of a forward.

        Args:
            dtype: Of queries, keys and values.
            head_dims: Dimensions of a head.
        """
        if self._attention is None:
            packed = has_packed_kernel(self.offsets.device, dtype, head_dims)
            self._attention = PackedAttention(self._sequences, self.ends()[1]) if packed else self._padded()
        return self._attention

    def _padded(self) -> PaddedAttention:
        shortest, longest = self.ends()
        bounds = self._sequences
        batch = len(bounds) - 1
        if shortest == longest:
            return PaddedAttention(batch, longest, None, None)
        start_of_sequence = torch.arange(batch, device=bounds.device) * longest - bounds[:-1]
        places = torch.arange(self.total, device=bounds.device) + start_of_sequence[self._owner(bounds)]
        filled = torch.arange(longest, device=bounds.device) < bounds.diff()[:, None]
        return PaddedAttention(batch, longest, places, filled[:, None, None])

    def _owner(self, bounds: Tensor) -> Tensor:
        """The sequence of each token, the last one's being all from its first on."""
        tokens = torch.arange(self.total, dtype=bounds.dtype, device=bounds.device)
        return torch.bucketize(tokens, bounds[1:-1], right=True)
