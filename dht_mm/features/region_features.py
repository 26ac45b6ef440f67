"""All features of regions."""

from torch import Tensor, nn

from dht_mm.structures import Partition

from .gradient import GradientFeatures
from .pixels import PixelFeatures
from .position import PositionFeatures


class RegionFeatures(nn.Module):
    """Describe each region by its pixels, its position and, if wanted, its texture (paper, region features).

    Args:
        in_channels: Channels of the images.
        patch_size: Side of the resampled boxes, and bins along each derivative.
        pos_grid: Cells of the position histogram, see :class:`PositionFeatures`.
        pos_scale: Its scale.
        gradient: Whether to describe the texture.
        gradient_curve: How to bend its derivatives, see :class:`GradientFeatures`.

    Attributes:
        dims: Length of the rows of each group.
    """

    def __init__(self, in_channels: int, patch_size: int, pos_grid: int | tuple[int, int], pos_scale: float | None = None,
                 gradient: bool = False, gradient_curve: tuple[float, float] = (0.0, 0.0)):
        super().__init__()
        self.pixels = PixelFeatures(in_channels, patch_size)
        self.position = PositionFeatures(pos_grid, pos_scale)
        self.gradient = GradientFeatures(patch_size, gradient_curve) if gradient else None
        self.dims = [group.dims for group in self.children()]

    def forward(self, image: Tensor, partition: Partition, shift: Tensor | None = None) -> list[Tensor]:
        """Rows of each group, in the order pixels, position, gradient.

        Args:
            image: ``[B, C, H, W]`` float, normalised.
            partition: Its regions.
            shift: ``[R, C]``, added to the pixels of each region before they are sampled; the gradient's histogram is without.

        Returns:
            One ``[R, dims]`` a group.
        """
        rows = [self.pixels(image, partition, shift), self.position(image, partition)]
        return rows if self.gradient is None else [*rows, self.gradient(image, partition)]
