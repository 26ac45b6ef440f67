"""From the tokens of regions to the logits of pixels, without a decoder network."""

import torch
import torch.nn.functional as F
from region_vit import Scene
from torch import Tensor, nn
from variants import Variant

from dht_mm.heads import PixelDecode
from dht_mm.heads.lattice import Lattice
from dht_mm.heads.pixel_decode import SPEED


class Decode(nn.Module):
    """Logits of pixels from tokens; all parts are linear in them. ``variant.decodes`` are some of

    - ``paint``: a pixel has its region's logits;
    - ``mix`` (NUMBER: 4 or 8, the default), ``sub`` (NUMBER: s, 4 by default), ``pixel`` and ``texture``: the library's
      :class:`PixelDecode` with ``mix``, ``places`` of the windows, ``pixel`` and ``texture``;
    - ``bilinear``: painted logits averaged over a grid's cells, and interpolated as a plain ViT's;
    - ``blend``: a learned share of that;
    - ``upernet``: not linear, a decoder network to compare with.

    Args:
        variant: Which.
        grid: Patches of the plain ViT along y and x.
        dims: Dimensions of a token.
        num_classes: Classes.
    """

    def __init__(self, variant: Variant, grid: tuple[int, int], dims: int, num_classes: int):
        super().__init__()
        self.parts, self.grid, self.network = variant.decodes, grid, None
        self.whole = variant.content == 'box'  # squares divide what the token sees
        if 'upernet' in self.parts:
            from upernet import UPerNet  # needs mmsegmentation

            self.network = UPerNet(dims, num_classes)
            return
        self.classes = nn.Linear(dims, num_classes)
        nn.init.trunc_normal_(self.classes.weight, std=0.02)
        nn.init.zeros_(self.classes.bias)
        places, mix = (int(variant.numbers.get(name, most)) if name in self.parts else least
                       for name, most, least in (('sub', 4, 1), ('mix', 8, 0)))
        self.pixels = PixelDecode(dims, num_classes, places, mix, 'pixel' in self.parts, texture='texture' in self.parts)
        self.share = nn.Parameter(torch.zeros(())) if 'blend' in self.parts else None  # of the interpolated map

    def forward(self, tokens: Tensor, scene: Scene, lattice: Lattice) -> Tensor:
        """``[R, D]`` to ``[B, K, h, w]`` float32."""
        if self.network is not None:
            logits = self.network(tokens, scene.partition).float()
            return lattice.cut(F.interpolate(logits, scene.images.shape[2:], mode='bilinear', align_corners=False))
        tokens = tokens.float()
        with torch.autocast(tokens.device.type, enabled=False):
            logits = self.classes(tokens)
            if {'bilinear', 'blend'} & set(self.parts):
                return lattice.cut(self._interpolated(scene.partition.scatter(logits)))
            boxes = None if self.whole else scene.windows.boxes()
            return self.pixels(logits, tokens, scene.partition, scene.images, boxes, *lattice)

    def learned_kernel(self) -> list[float]:
        """Factors of distance and colour and the own region's bonus, where regions are mixed."""
        if self.network is not None or self.pixels.kernel is None:
            return []
        values = self.pixels.kernel.detach() * SPEED
        return [*values[:2].exp().tolist(), values[2].item()]

    def _interpolated(self, painted: Tensor) -> Tensor:
        cells = F.interpolate(F.adaptive_avg_pool2d(painted, self.grid), painted.shape[2:], mode='bilinear', align_corners=False)
        return cells if self.share is None else torch.lerp(painted, cells, torch.sigmoid(self.share * SPEED))
