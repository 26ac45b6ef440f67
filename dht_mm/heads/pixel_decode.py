"""From the tokens of regions to the logits of pixels, without a decoder network."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dht_mm.ops import PixelScene, decode_pixels, region_mean, surroundings
from dht_mm.ops.lines import ALL
from dht_mm.structures import Partition

RING = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-0.7, -0.7), (-0.7, 0.7), (0.7, -0.7), (0.7, 0.7))  # y and x, the pixel itself first
REACH = 0.6  # radius of the ring, in sides of a square as large as the image's mean region
BLUR = 5  # side of the square over which a pixel's surroundings are averaged
WIDE = 17  # side of a wider one
SPEED = 30.0  # Adam moves a parameter by at most a learning rate a step: numbers that must move far are kept divided by this
PIXELS_AT_ONCE = 2**18


class PixelDecode(nn.Module):
    """Logits of pixels, each a weighted sum of rows of one table that is linear in the tokens.

    - A token has logits for ``places x places`` squares of its region's box, between which the region's pixels interpolate bilinearly.
    - A pixel mixes the logits of its own region and of the regions at ``mix`` points around it, those of their nearest squares. The
      weights are a softmax over distance to the centroid, difference of colour and whether the region is its own, with learned factors.
      The points are closer by the more regions an image has.
    - With ``pixel``, a token also has a linear map to logits of the pixel's colour, and of that around it, relative to the region's mean;
      with ``texture``, of that in a wider square too and of the colours' deviation in both.

    At first squares and colours have no say. The result does not depend on the other images of a batch. Not in the paper; what each part
    is worth is in ``docs/segmentation.md``.

    Args:
        dims: Dimensions of a token, D.
        num_classes: Logits of a pixel, K.
        places: Squares along a side of a box; 1 for the region's logits alone.
        mix: 0, 4 or 8 points around the pixel.
        pixel: Whether colours have a say.
        image_channels: Channels of the images, C.
        texture: Whether the map of colours reads more than the means of one square.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(self, dims: int, num_classes: int, places: int = 4, mix: int = 4, pixel: bool = True, image_channels: int = 3,
                 texture: bool = False):
        super().__init__()
        if not isinstance(places, int) or places < 1:
            raise ValueError(f'places must be a positive integer, got {places!r}')
        if mix not in (0, 4, 8):
            raise ValueError(f'mix must be 0, 4 or 8, got {mix!r}')
        self.side, self.channels, self.texture = places, image_channels, texture
        self.means = 3 if texture else 2  # of a pixel's features, those that are colours
        features = image_channels * (5 if texture else 2)
        self.register_buffer('ring', torch.tensor(RING[:1 + mix]), persistent=False)
        self.places = nn.Linear(dims, num_classes * places**2, bias=False) if places > 1 else None
        self.slopes = nn.Linear(dims, num_classes * features, bias=False) if pixel else None
        # Logarithms of the factors of distance and colour, bonus of the own region.
        self.kernel = nn.Parameter(torch.empty(3)) if mix else None
        self.init_weights()

    def init_weights(self) -> None:
        """The start, also where a head initialises all its linear maps otherwise."""
        for linear in (self.places, self.slopes):
            if linear is not None:
                nn.init.zeros_(linear.weight)
        if self.kernel is not None:
            with torch.no_grad():
                self.kernel.copy_(torch.tensor([math.log(2.0), math.log(0.5), 1.0]) / SPEED)

    def forward(self, logits: Tensor, tokens: Tensor, partition: Partition, images: Tensor, boxes: Tensor | None = None,
                rows: slice | Tensor = ALL, columns: slice | Tensor = ALL) -> Tensor:
        """Logits of pixels, all of them at once, as training needs them.

        Args:
            logits: ``[R, K]`` of the regions.
            tokens: ``[R, D]`` of the regions.
            partition: The regions.
            images: ``[B, C, H, W]`` normalised, what the partition was made from.
            boxes: ``[R, 4]`` float, the parts of the image that the squares divide: top, left, bottom, right in pixels, the last two not
                inclusive. None is the box of each region.
            rows: Which rows of pixels, a slice or ``[h]`` int64.
            columns: Which columns.

        Returns:
            ``[B, K, h, w]``, at least float32.

        Raises:
            ValueError: ``images`` are not of the partition's batch and size, or of another number of channels.
        """
        ingredients = self.ingredients(logits, tokens, partition, images, boxes)
        return decode_pixels(*ingredients, self._colours(images, rows, columns), rows, columns)

    def bands(self, logits: Tensor, tokens: Tensor, partition: Partition, images: Tensor,
              boxes: Tensor | None = None) -> Iterator[Tensor]:
        """The same logits ``[B, K, h, W]``, some rows at a time from the top on, so that memory beside them is bounded."""
        batch, height, width = partition.labels.shape
        ingredients = self.ingredients(logits, tokens, partition, images, boxes)
        step = max(1, PIXELS_AT_ONCE // (batch * width))
        for top in range(0, height, step):
            rows = slice(top, top + step)
            yield decode_pixels(*ingredients, self._colours(images, rows), rows)

    def ingredients(self, logits: Tensor, tokens: Tensor, partition: Partition, images: Tensor,
                    boxes: Tensor | None = None) -> tuple[Tensor, Tensor | None, PixelScene]:
        """Table, kernel and scene, what :func:`dht_mm.ops.decode_pixels` makes pixels of; arguments as of :meth:`forward`."""
        return self._table(logits, tokens), self._factors(), self._scene(partition, images, boxes)

    def _table(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """``[R s^2 + R F, K]``: logits of each square of each region, then those of each of its pixels' features."""
        dtype = torch.promote_types(tokens.dtype, torch.float32)
        logits, tokens, num_classes = logits.to(dtype), tokens.to(dtype), logits.shape[1]
        with torch.autocast(tokens.device.type, enabled=False):
            parts = [logits]
            if self.places is not None:
                parts = [(logits[:, None] + F.linear(tokens, self.places.weight.to(dtype)).unflatten(1, (-1, num_classes))).flatten(0, 1)]
            if self.slopes is not None:
                parts.append(F.linear(tokens, self.slopes.weight.to(dtype)).unflatten(1, (num_classes, -1)).mT.flatten(0, 1))
        return torch.cat(parts)

    def _factors(self) -> Tensor | None:
        """``[3]``: factors of distance and colour, and the bonus of the own region."""
        if self.kernel is None:
            return None
        kernel = self.kernel.to(torch.promote_types(self.kernel.dtype, torch.float32)) * SPEED
        return torch.cat([kernel[:2].exp(), kernel[2:]])

    @torch.no_grad()
    def _scene(self, partition: Partition, images: Tensor, boxes: Tensor | None) -> PixelScene:
        batch, height, width = partition.labels.shape
        if tuple(images.shape) != (batch, self.channels, height, width):
            raise ValueError(f'images must be of shape {(batch, self.channels, height, width)}, got {tuple(images.shape)}')
        axes = (torch.arange(length, dtype=torch.float32, device=images.device) for length in (height, width))
        places = torch.stack(torch.meshgrid(*axes, indexing='ij')).expand(batch, -1, -1, -1)
        means = region_mean(torch.cat([places, images.float()], 1), partition.labels, partition.offsets, partition.size)
        if boxes is None:
            boxes = torch.cat([partition.bbox[:, :2], partition.bbox[:, 2:] + 1], 1).float()
        reach = REACH * (height * width / partition.num_regions.clamp_min(1).double()).sqrt()
        steps = (reach[:, None, None] * self.ring.double()).round().int()
        return PixelScene(partition.labels, partition.offsets, means, partition.size.clamp_min(1), boxes, steps, self.means * self.channels,
                          self.side)

    def _colours(self, images: Tensor, rows: slice | Tensor, columns: slice | Tensor = ALL) -> Tensor:
        """``[B, F, h, w]``: the colours of pixels and of their surroundings."""
        return surroundings(images.float(), BLUR, WIDE if self.texture else None, rows, columns)
