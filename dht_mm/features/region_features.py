"""All features of regions."""

from collections.abc import Sequence
from numbers import Real

from torch import Tensor, nn

from dht_mm.structures import Partition

from .form import FormFeatures
from .gradient import GradientFeatures
from .pixels import PixelFeatures
from .position import PositionFeatures
from .windows import Windows, find_windows

CROPS = ('box', 'window')


class RegionFeatures(nn.Module):
    """Describe each region by its pixels, its position and, if wanted, its texture (paper, region features).

    With ``crop='window'``, which is not the paper's, pixels are those of a window of one size in the middle of the region, its position
    is that of the window's middle, and :class:`FormFeatures` tell the rest: what a pretrained ViT meets are then pixels and
    positions as it knows them. For squares that are patches both crops are the same.

    Args:
        in_channels: Channels of the images.
        patch_size: Side of the resampled boxes or windows, and bins along each derivative.
        pos_grid: Cells of the position histogram, see :class:`PositionFeatures`.
        pos_scale: Its scale.
        gradient: Whether to describe the texture.
        gradient_curve: How to bend its derivatives, see :class:`GradientFeatures`.
        crop: ``'box'`` or ``'window'``.
        window_size: Side of windows in pixels of the images, or height and width; None is ``patch_size``. About the root of the pixels
            that a region has on average is a good choice.

    Attributes:
        dims: Length of the rows of each group, by its name.

    Raises:
        ValueError: ``crop`` is unknown, or ``window_size`` not positive, or given without windows.
    """

    def __init__(self, in_channels: int, patch_size: int, pos_grid: int | tuple[int, int], pos_scale: float | None = None,
                 gradient: bool = False, gradient_curve: tuple[float, float] = (0.0, 0.0), crop: str = 'box',
                 window_size: float | tuple[float, float] | None = None):
        super().__init__()
        if crop not in CROPS:
            raise ValueError(f'crop must be one of {CROPS}, got {crop!r}')
        if crop == 'box' and window_size is not None:
            raise ValueError(f"window_size must be None with crop='box', got {window_size!r}")
        self.patch_size, self.crop = patch_size, crop
        self.window_size = _sides(patch_size if window_size is None else window_size)
        self.pixels = PixelFeatures(in_channels, patch_size) if crop == 'box' else None
        self.position = PositionFeatures(pos_grid, pos_scale)
        self.gradient = GradientFeatures(patch_size, gradient_curve) if gradient else None
        self.form = FormFeatures(in_channels, patch_size) if crop == 'window' else None
        groups = dict(gradient=self.gradient, form=self.form)
        self.dims = dict(pixels=in_channels * patch_size**2, position=self.position.dims)
        self.dims |= {name: group.dims for name, group in groups.items() if group is not None}

    def find_windows(self, partition: Partition) -> Windows | None:
        """The regions' windows; None where pixels are those of boxes."""
        return find_windows(partition, self.patch_size, self.window_size) if self.crop == 'window' else None

    def forward(self, image: Tensor, partition: Partition, shift: Tensor | None = None, windows: Windows | None = None) -> list[Tensor]:
        """Rows of each group, in the order of :attr:`dims`.

        Args:
            image: ``[B, C, H, W]`` float, normalised.
            partition: Its regions.
            shift: ``[R, C]``, added to the pixels of each region before they are sampled, with windows to its mean colour alone; the
                gradient's histogram is without.
            windows: What :meth:`find_windows` gives, where it is known.

        Returns:
            One ``[R, dims]`` a group.
        """
        if self.crop == 'box':
            rows = [self.pixels(image, partition, shift), self.position(image, partition)]
        else:
            windows = self.find_windows(partition) if windows is None else windows
            pixels, mask = windows.cut(image, partition)
            rows = [pixels.flatten(1), self.position.at(windows.middle).to(image.dtype)]
        if self.gradient is not None:
            rows.append(self.gradient(image, partition))
        return rows if self.form is None else [*rows, self.form(image, partition, windows, mask, shift)]


def _sides(window_size: float | Sequence[float]) -> tuple[float, float]:
    sides = tuple(window_size) if isinstance(window_size, (tuple, list)) else (window_size, window_size)
    if len(sides) != 2 or not all(isinstance(side, Real) and not isinstance(side, bool) and 1 <= side < float('inf') for side in sides):
        raise ValueError(f'window_size must be a number of at least 1 or two, height and width, got {window_size!r}')
    return sides
