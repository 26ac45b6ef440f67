"""Where the tokens of each image lie in a packed sequence."""

from functools import cached_property

import torch
from torch import Tensor

from .packing import PackedAttention, PaddedAttention, has_packed_kernel


class TokenLayout:
    """The bounds of the images in a packed sequence; made once a forward, read by every block.

    The lengths of the shortest and the longest image start their way to the host when a layout is made, and are waited for where they
    are first read. Made as soon as the regions are known, with work for the GPU after it, it costs no wait.

    Args:
        offsets: ``[B + 1]`` int32, first token of each image, then their number N.
        total: N. Knowing it spares a read-back.

    Attributes:
        lengths: ``[B]`` int64, tokens of each image.
    """

    def __init__(self, offsets: Tensor, total: int):
        self.offsets = offsets
        self.lengths = offsets.long().diff()
        self.total = total
        self._ends = torch.stack(self.lengths.aminmax()).to('cpu', non_blocking=True)
        self._arrival = torch.cuda.current_stream(offsets.device).record_event() if offsets.is_cuda else None
        self._attention: PackedAttention | PaddedAttention | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.lengths)

    @cached_property
    def image(self) -> Tensor:
        """``[N]`` int64, the image of each token."""
        images = torch.arange(len(self), device=self.offsets.device)
        return images.repeat_interleave(self.lengths, output_size=self.total)

    def ends(self) -> tuple[int, int]:
        """Tokens of the shortest and of the longest image."""
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
            self._attention = PackedAttention(self.offsets, self.ends()[1]) if packed else self._padded()
        return self._attention

    def _padded(self) -> PaddedAttention:
        shortest, longest = self.ends()
        if shortest == longest:
            return PaddedAttention(len(self), longest, None, None)
        start_of_image = torch.arange(len(self), device=self.offsets.device) * longest - self.offsets[:-1]
        places = torch.arange(self.total, device=self.offsets.device) + start_of_image[self.image]
        filled = torch.arange(longest, device=self.offsets.device) < self.lengths[:, None]
        return PaddedAttention(len(self), longest, places, filled[:, None, None])
