"""Where the tokens of each image lie in a packed sequence."""

from functools import cached_property

import torch
from torch import Tensor


class TokenLayout:
    """The bounds of the images in a packed sequence, and the way to a padded one; made once a forward, read by every block.

    Args:
        offsets: ``[B + 1]`` int32, first token of each image, then their number N.
        total: N. Knowing it spares a read-back.

    Attributes:
        longest: Tokens ``L`` of the longest image, on the host: the one read-back.
        image: ``[N]`` int64, the image of each token.
    """

    def __init__(self, offsets: Tensor, total: int):
        self.offsets = offsets
        self.lengths = offsets.long().diff()
        self.shortest, self.longest = torch.stack(self.lengths.aminmax()).tolist()
        images = torch.arange(len(self), device=offsets.device)
        self.image = images.repeat_interleave(self.lengths, output_size=total)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.lengths)

    @cached_property
    def key_mask(self) -> Tensor | None:
        """``[B, 1, 1, L]`` bool, the places of a padded sequence that hold a token; None where all do."""
        if self.shortest == self.longest:
            return None
        places = torch.arange(self.longest, device=self.offsets.device)
        return (places < self.lengths[:, None])[:, None, None]

    @cached_property
    def _places(self) -> Tensor:
        start_of_image = torch.arange(len(self), device=self.offsets.device) * self.longest - self.offsets[:-1]
        return torch.arange(len(self.image), device=self.offsets.device) + start_of_image[self.image]

    def pad(self, packed: Tensor) -> Tensor:
        """``[N, ...]`` to ``[B, L, ...]``, zero where an image has no more tokens."""
        if self.key_mask is not None:
            padded = packed.new_zeros(len(self) * self.longest, *packed.shape[1:])
            packed = padded.index_copy(0, self._places, packed)
        return packed.view(len(self), self.longest, *packed.shape[1:])

    def unpad(self, padded: Tensor) -> Tensor:
        """``[B, L, ...]`` to ``[N, ...]``."""
        packed = padded.flatten(0, 1)
        return packed if self.key_mask is None else packed.index_select(0, self._places)
