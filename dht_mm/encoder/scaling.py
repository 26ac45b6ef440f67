"""Learned factors on the outputs of linear maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerScale(nn.Module):
    """Multiply each dimension by a learned factor (Touvron et al., 2021, Going deeper with image transformers).

    Args:
        embed_dims: Dimensions of a token.
        init_value: Initial factor.
    """

    def __init__(self, embed_dims: int, init_value: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((embed_dims,), float(init_value)))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, D]`` to ``[N, D]``."""
        return x * self.gamma


def scaled_linear(linear: nn.Module, x: Tensor, scale: nn.Module) -> Tensor:
    """A linear map and a :class:`LayerScale`, or whatever module is in its place.

    The weights are scaled where they can be: there are far fewer of them than tokens, and the unscaled output needs not be kept for
    the gradient. float16 has no room for small factors on top of small weights, and maps that something was wrapped around or put in
    the place of are called as they are; there the output is scaled.

    Args:
        linear: The map, ``[N, C]`` to ``[N, D]``.
        x: ``[N, C]``, in the dtype that the product is computed in.
        scale: What follows it, ``[N, D]`` to ``[N, D]``.
    """
    if not isinstance(scale, LayerScale) or type(linear) is not nn.Linear or x.dtype == torch.float16:
        return scale(linear(x))
    bias = None if linear.bias is None else linear.bias * scale.gamma
    return F.linear(x, linear.weight * scale.gamma[:, None], bias)
