"""From the tokens of regions to the logits of pixels, without a decoder network."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from region_vit import Scene
from torch import Tensor, nn
from variants import Variant

PIXEL_FEATURES = 6
RING = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-0.7, -0.7), (-0.7, 0.7), (0.7, -0.7), (0.7, 0.7))
REACH = 0.6  # radius of the ring in patches
SPEED = 30.0  # Adam moves a parameter by at most a learning rate a step: numbers that must move far are kept divided by this


class Lattice(NamedTuple):
    """The pixels to compute: every ``stride``-th row and column from ``first`` on."""

    first: tuple[int, int] = (0, 0)
    stride: int = 1

    def cut(self, maps: Tensor) -> Tensor:
        """``[..., H, W]`` to ``[..., h, w]``."""
        return maps[..., self.first[0]::self.stride, self.first[1]::self.stride]


class Decode(nn.Module):
    """Logits of pixels from tokens; all parts are linear in them. ``variant.decodes`` are some of

    - ``paint``: a pixel has its region's logits;
    - ``mix`` (NUMBER: 4 or 8, the default): those of its region and of the regions at so many places around it, weighted by distance,
      colour and whether they are its own, with learned factors;
    - ``sub`` (NUMBER: s, 4 by default): a token has logits for ``s x s`` places in its window, between which a pixel interpolates;
    - ``pixel``: a token also has a linear map of its pixels' colours, relative to the region's, to logits;
    - ``bilinear``: painted logits averaged over a grid's cells, and interpolated as a plain ViT's;
    - ``blend``: a learned share of that.

    Args:
        variant: Which.
        grid: Patches of the plain ViT along y and x.
        dims: Dimensions of a token.
        num_classes: Classes.
    """

    def __init__(self, variant: Variant, grid: tuple[int, int], dims: int, num_classes: int):
        super().__init__()
        self.parts, self.grid = variant.decodes, grid
        self.side = int(variant.numbers.get('sub', 4)) if 'sub' in self.parts else 1
        self.ring = RING[:1 + int(variant.numbers.get('mix', 8))] if 'mix' in self.parts else RING[:1]
        self.classes = nn.Linear(dims, num_classes)
        nn.init.trunc_normal_(self.classes.weight, std=0.02)
        nn.init.zeros_(self.classes.bias)
        self.places = _zero_linear(dims, num_classes * self.side**2) if 'sub' in self.parts else None
        self.slopes = _zero_linear(dims, num_classes * PIXEL_FEATURES) if 'pixel' in self.parts else None
        # log of the factors of distance and colour, own-region bonus; share of the interpolated map
        self.kernel = nn.Parameter(torch.tensor([math.log(2.0), math.log(0.5), 1.0, 0.0]) / SPEED)

    def forward(self, tokens: Tensor, scene: Scene, lattice: Lattice) -> Tensor:
        """``[R, D]`` to ``[B, K, h, w]`` float32."""
        tokens = tokens.float()
        with torch.autocast(tokens.device.type, enabled=False):
            table = self._table(tokens)
            if {'bilinear', 'blend'} & set(self.parts):
                return self._interpolated(table, scene, lattice)
            rows, weights = self._taps(scene, lattice)
            batch, height, width = rows.shape[:3]
            bags = (part.view(batch * height * width, -1) for part in (rows, weights))
            logits = _weighted_sums(table, *bags)
            if self.slopes is not None:
                logits = logits + self._by_colour(tokens, scene, lattice)
        return logits.view(batch, height, width, -1).movedim(-1, 1)

    def learned_kernel(self) -> list[float]:
        """Factors of distance and colour, own-region bonus, share of the interpolated map."""
        values = self.kernel.detach() * SPEED
        return [*values[:2].exp().tolist(), values[2].item(), values[3].sigmoid().item()]

    def _table(self, tokens: Tensor) -> Tensor:
        """``[R s^2, K]``: logits of each place of each region's window."""
        logits = self.classes(tokens)
        if self.places is None:
            return logits
        return (logits[:, None] + self.places(tokens).unflatten(1, (self.side**2, -1))).flatten(0, 1)

    def _taps(self, scene: Scene, lattice: Lattice) -> tuple[Tensor, Tensor]:
        """``[B, h, w, taps]``: rows of the table that a pixel reads, and their weights."""
        packed = scene.partition.packed_labels
        candidates = torch.stack([lattice.cut(_shifted(packed, self._pixels(step, scene))) for step in self.ring], -1)
        weights = self._mix(candidates, scene, lattice) if 'mix' in self.parts else torch.ones_like(candidates, dtype=torch.float32)
        return (candidates, weights) if self.side == 1 else self._within_windows(candidates, weights, scene, lattice)

    def _pixels(self, step: tuple[float, float], scene: Scene) -> tuple[int, int]:
        """A step of the ring in pixels."""
        size = scene.images.shape[2:]
        return tuple(round(part * REACH * length / side) for part, length, side in zip(step, size, self.grid, strict=True))

    def _mix(self, candidates: Tensor, scene: Scene, lattice: Lattice) -> Tensor:
        """Weights of the candidates, ``[B, h, w, C]``."""
        factors, bonus = (self.kernel[:2] * SPEED).exp(), self.kernel[2] * SPEED
        rows = torch.cat([scene.windows.centroid, scene.partition.size[:, None].float(), scene.colour.float()], 1)
        taken = rows.index_select(0, candidates.flatten()).view(*candidates.shape, 6)
        pixel = torch.stack(self._coordinates(scene, lattice), -1)[:, :, None]
        distance = (taken[..., :2] - pixel).square().sum(-1) / taken[..., 2]
        colour = (taken[..., 3:] - lattice.cut(scene.images).movedim(1, -1)[:, :, :, None]).square().sum(-1)
        own = candidates == candidates[..., :1]
        return (bonus * own - factors[0] * distance - factors[1] * colour).softmax(-1)

    def _within_windows(self, candidates: Tensor, weights: Tensor, scene: Scene, lattice: Lattice) -> tuple[Tensor, Tensor]:
        """Taps become places of windows: the nearest one, and of the pixel's own region the four nearest, weighted bilinearly."""
        place = self._places(candidates, scene, lattice)
        nearest = place[..., 1:, :].round().long()
        low = place[..., 0, :].floor().clamp(max=self.side - 2).long()
        share = place[..., 0, :] - low
        rows, factors = [self._row(candidates[..., 1:], nearest)], [weights[..., 1:]]
        for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share_y, share_x = (part if step else 1 - part for part, step in zip(share.unbind(-1), (y, x), strict=True))
            rows.append(self._row(candidates[..., 0], torch.stack([low[..., 0] + y, low[..., 1] + x], -1))[..., None])
            factors.append((weights[..., 0] * share_y * share_x)[..., None])
        return torch.cat(rows, -1), torch.cat(factors, -1)

    def _places(self, candidates: Tensor, scene: Scene, lattice: Lattice) -> Tensor:
        """``[B, h, w, C, 2]``: where the pixel lies in the window of each candidate, in places, 0 to s - 1."""
        inside = [scene.windows.inside(coordinate, candidates, axis) for axis, coordinate in enumerate(self._coordinates(scene, lattice))]
        return (torch.stack(inside, -1) * self.side - 0.5).clamp(0, self.side - 1)

    def _row(self, region: Tensor, place: Tensor) -> Tensor:
        """Row of the table of a place ``[..., 2]``."""
        return (region * self.side + place[..., 0]) * self.side + place[..., 1]

    @staticmethod
    def _coordinates(scene: Scene, lattice: Lattice) -> list[Tensor]:
        """y and x of the pixels, ``[h, w]`` each."""
        height, width = scene.images.shape[2:]
        y, x = (torch.arange(length, device=scene.images.device, dtype=torch.float32) for length in (height, width))
        return [lattice.cut(axis.expand(height, width)) for axis in (y[:, None], x)]

    def _by_colour(self, tokens: Tensor, scene: Scene, lattice: Lattice) -> Tensor:
        """``[P, K]``: what a token says about the deviation of a pixel's and its surroundings' colour from the region's."""
        own = lattice.cut(scene.partition.packed_labels).flatten()
        smooth = F.avg_pool2d(scene.images, 5, stride=1, padding=2, count_include_pad=False)
        maps = torch.cat([scene.images, smooth], 1)
        colour = scene.colour.float().repeat(1, 2).index_select(0, own)
        features = lattice.cut(maps).movedim(1, -1).reshape(-1, PIXEL_FEATURES) - colour
        slopes = F.embedding(own, self.slopes(tokens)).unflatten(1, (-1, PIXEL_FEATURES))
        return (slopes * features[:, None]).sum(-1)

    def _interpolated(self, table: Tensor, scene: Scene, lattice: Lattice) -> Tensor:
        labels = scene.partition.packed_labels
        painted = F.embedding(labels, table).movedim(-1, 1)
        cells = F.interpolate(F.adaptive_avg_pool2d(painted, self.grid), labels.shape[1:], mode='bilinear', align_corners=False)
        share = torch.sigmoid(self.kernel[3] * SPEED) if 'blend' in self.parts else 1.0
        return lattice.cut(torch.lerp(painted, cells, torch.as_tensor(share, dtype=cells.dtype, device=cells.device)))


def _weighted_sums(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """``[P, K]``: for each of P pixels the sum of some of the table's rows."""
    return F.embedding_bag(rows, table, mode='sum', per_sample_weights=weights)


def _zero_linear(dims: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(dims, outputs, bias=False)
    nn.init.zeros_(linear.weight)
    return linear


def _shifted(maps: Tensor, step: tuple[int, int]) -> Tensor:
    """``[B, H, W]``: the value ``step`` pixels on, at the border the outermost."""
    height, width = maps.shape[1:]
    y, x = (torch.arange(length, device=maps.device).add(part).clamp(0, length - 1)
            for length, part in zip((height, width), step, strict=True))
    return maps[:, y[:, None], x]
