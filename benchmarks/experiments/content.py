"""What a token sees of its region."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from variants import Variant
from windows import STEPS, Windows

from dht_mm.backbones import DHTViT
from dht_mm.backbones.outputs import raw
from dht_mm.features import GradientFeatures
from dht_mm.ops import position_histogram, region_mean
from dht_mm.structures import Partition

POSITION_SCALE = 32  # see dht_mm.features.position
STATISTICS = 11


def cell_positions(backbone: DHTViT) -> Tensor:
    """``[D, cells]`` positional embeddings of the plain ViT, from the dHT-ViT's weights."""
    return backbone.embedding.pos_embed.weight * (POSITION_SCALE / backbone.features.position.scale)**2


def resized(images: Tensor, grid: tuple[int, int], patch: float) -> Tensor:
    """The image that a plain ViT with ``grid`` patches of side ``patch`` sees."""
    return F.interpolate(images, [round(side * patch) for side in grid], mode='bilinear', antialias=True, align_corners=False)


def patch_tokens(backbone: DHTViT, images: Tensor, grid: tuple[int, int]) -> Tensor:
    """``[B, cells, D]``: the tokens of the plain ViT in front of its blocks, without the class token."""
    patch = backbone.patch_size
    rows = F.unfold(resized(images, grid, patch), patch, stride=patch).mT
    return backbone.embedding.patch_embed(rows) + cell_positions(backbone).T


class Content(nn.Module):
    """Tokens of regions.

    Args:
        variant: Which.
        grid: Patches of the plain ViT along y and x.
        patch: Their side.
        dims: Dimensions of a token.
        from_zero: Whether extras count for nothing at first, as beside pretrained weights.
    """

    def __init__(self, variant: Variant, grid: tuple[int, int], patch: int, dims: int, from_zero: bool):
        super().__init__()
        self.variant, self.grid, self.patch = variant, grid, patch
        sizes = dict(mask=patch**2, stats=STATISTICS, fine=3 * (2 * patch)**2, whole=dims, gradient=patch**2)
        self.extras = nn.ModuleDict({name: nn.Linear(sizes[name], dims, bias=False) for name in variant.extras})
        self.gradients = GradientFeatures(patch) if 'gradient' in variant.extras else None
        for linear in self.extras.values():
            nn.init.normal_(linear.weight, std=0.0 if from_zero else 0.02)

    def forward(self, backbone: DHTViT, images: Tensor, partition: Partition, windows: Windows, shift: Tensor | None) -> Tensor:
        """``[R, D]``.

        Args:
            backbone: Whose embedding maps the pixels.
            images: ``[B, 3, H, W]``.
            partition: Their regions.
            windows: And their windows.
            shift: ``[R, 3]``, what mean injection adds to a region's colours, or None: to their mean in ``stats`` where there are these,
                so that a pretrained ViT meets pixels as they are, else to its pixels.
        """
        content = 'window' if self.variant.content in STEPS else self.variant.content
        tokens = getattr(self, f'_{content}')(backbone, images, partition, windows, shift)
        for name, linear in self.extras.items():
            if name == 'whole':
                rows = self._cells(backbone, images, partition, windows, None)
            elif name == 'stats':
                rows = self._stats(images, partition, windows, shift)
            else:
                rows = getattr(self, f'_{name}')(images, partition, windows)
            tokens = tokens + linear(rows)
        return tokens

    def _window(self, backbone: DHTViT, images: Tensor, partition: Partition, windows: Windows, shift: Tensor | None) -> Tensor:
        pixels = windows.cut(lambda zoom: resized(images, self.grid, self.patch * zoom), partition.image_index)
        if shift is not None and 'stats' not in self.extras:
            pixels = pixels + shift[:, :, None, None] * self._mask(images, partition, windows).view(-1, 1, self.patch, self.patch)
        return backbone.embedding.patch_embed(pixels.flatten(1)) + windows.positions(cell_positions(backbone))

    def _box(self, backbone: DHTViT, images: Tensor, partition: Partition, windows: Windows, shift: Tensor | None) -> Tensor:
        pixels, position = backbone.features(images, partition, shift)
        return backbone.embedding.patch_embed(pixels) + backbone.embedding.pos_embed(position)

    def _cells(self, backbone: DHTViT, images: Tensor, partition: Partition, windows: Windows, shift: Tensor | None) -> Tensor:
        """The mean over a region's pixels of what the plain ViT's patches around them have."""
        counts = position_histogram(partition.labels, partition.offsets, partition.total_regions, self.grid)
        tokens = patch_tokens(backbone, images, self.grid)
        share = (counts / partition.size[:, None].clamp_min(1)).to(tokens.dtype)
        padded = raw(share.new_zeros(len(tokens), 0, share.shape[1]), share, partition)
        image = partition.image_index
        label = torch.arange(len(image), device=image.device) - partition.offsets[image]
        return (padded @ tokens)[image, label.clamp(max=padded.shape[1] - 1)]  # rows of no region get some region's

    def _mask(self, images: Tensor, partition: Partition, windows: Windows) -> Tensor:
        """``[R, patch^2]``: which pixels of the window are the region's own."""
        packed = partition.packed_labels[:, None]

        def owner(zoom: float) -> Tensor:
            y, x = (((torch.arange(count, device=images.device) + 0.5) * (length / count)).long()
                    for count, length in zip((round(side * self.patch * zoom) for side in self.grid), images.shape[2:], strict=True))
            return packed[:, :, y[:, None], x]

        owners = windows.cut(owner, partition.image_index)
        return (owners.flatten(1) == torch.arange(len(owners), device=owners.device)[:, None]).float()

    def _stats(self, images: Tensor, partition: Partition, windows: Windows, shift: Tensor | None) -> Tensor:
        """``[R, 11]``: mean and deviation of the colours, size, and form in units of a patch."""
        mean = region_mean(torch.cat([images, images.square()], 1), partition.labels, partition.offsets, partition.size)
        colour, deviation = mean[:, :3], (mean[:, 3:] - mean[:, :3].square()).clamp(min=0).sqrt()
        if shift is not None:
            colour = colour + shift
        cell = math.sqrt(images[0, 0].numel() / math.prod(self.grid))
        centre = torch.stack([windows.middle(axis) * images.shape[2 + axis] for axis in (0, 1)], 1)
        form = [(partition.size[:, None].clamp_min(1) / cell**2).log(), (windows.centroid + 0.5 - centre) / cell,
                (partition.bbox[:, 2:] + 1 - partition.bbox[:, :2]) / cell]
        return torch.cat([colour, deviation, *form], 1)

    def _fine(self, images: Tensor, partition: Partition, windows: Windows) -> Tensor:
        """``[R, 12 patch^2]``: the window at twice the resolution."""
        return windows.cut(lambda zoom: resized(images, self.grid, self.patch * zoom), partition.image_index, 2).flatten(1)

    def _gradient(self, images: Tensor, partition: Partition, windows: Windows) -> Tensor:
        """``[R, patch^2]``: the histogram of the region's derivatives."""
        return self.gradients(images, partition)
