"""The gated MLP of the largest DINOv2."""

import torch.nn.functional as F
from torch import Tensor, nn

from .scaling import scaled_linear


class SwiGLU(nn.Module):
    """``W2 (SiLU(a) * b)`` with ``[a | b] = W1 x`` (Shazeer, 2020, GLU variants improve transformer), as in DINOv2's ViT-g.

    Args:
        embed_dims: Dimensions of a token, D.
        feedforward_channels: Hidden dimensions of the plain MLP that this one replaces. It has two thirds of them itself, rounded
            up to a multiple of 8, and so about as many parameters.
    """

    def __init__(self, embed_dims: int, feedforward_channels: int):
        super().__init__()
        hidden = -(-(2 * feedforward_channels // 3) // 8) * 8
        self.fc1 = nn.Linear(embed_dims, 2 * hidden)
        self.fc2 = nn.Linear(hidden, embed_dims)

    def forward(self, x: Tensor, scale: nn.Module) -> Tensor:
        """``[N, D]`` to ``[N, D]``, with ``scale`` (``[N, D]`` to ``[N, D]``) at the end."""
        gate, value = self.fc1(x).chunk(2, -1)
        return scaled_linear(self.fc2, F.silu(gate) * value, scale)
