"""The layers of a block that look at each token alone."""

from torch import Tensor, nn

from .scaling import scaled_linear


class MLP(nn.Module):
    """Two linear maps with an exact GELU between them.

    Args:
        embed_dims: Dimensions of a token, D.
        feedforward_channels: Hidden dimensions.
    """

    def __init__(self, embed_dims: int, feedforward_channels: int):
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, feedforward_channels)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(feedforward_channels, embed_dims)

    def forward(self, x: Tensor, scale: nn.Module) -> Tensor:
        """``[N, D]`` to ``[N, D]``, with ``scale`` (``[N, D]`` to ``[N, D]``) at the end."""
        return scaled_linear(self.fc2, self.act(self.fc1(x)), scale)
