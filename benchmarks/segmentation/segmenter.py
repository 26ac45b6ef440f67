"""A pretrained ViT that segments: plain, or on regions."""

import torch
import torch.nn.functional as F
from decoding import Decode
from partitions import build_tokenizer
from region_vit import RegionViT
from torch import Tensor, nn
from variants import Variant

from dht_mm.backbones import DHTViT
from dht_mm.converters import convert_vit
from dht_mm.heads.lattice import Lattice
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer

ALL_PIXELS = Lattice()


def retrofit(variant: Variant, grid: tuple[int, int], vit: dict[str, Tensor], tokenizer: str | None, room: int | None) -> DHTViT:
    """The dHT-ViT with the weights of a plain ViT, its positions resampled to the grid, and a pre-trained tokenizer."""
    conversion = convert_vit(vit, 'dinov2', pos_grid=grid)
    module = build_tokenizer(variant.partition, grid, variant.numbers.get(variant.partition), room)
    backbone = DHTViT(module, out_type='tokens', drop_path_rate=0.0, **conversion.options)
    weights = {key.removeprefix('backbone.'): value for key, value in conversion.state_dict.items()}
    missing, unexpected = backbone.load_state_dict(weights, strict=False)
    if unexpected or any(not key.startswith(('tokenizer.', 'features.')) for key in missing):
        raise ValueError(f'vit must fit the backbone, but lacks {missing} and adds {unexpected}')
    if isinstance(module, DHTTokenizer) and tokenizer is not None:
        load_tokenizer(module, tokenizer)
    if (mix := variant.numbers.get('box')) is not None:
        nn.init.constant_(backbone.features.pixels.mix_logit, torch.logit(torch.tensor(mix)).item())
    return backbone


class Segmenter(RegionViT):
    """Images to logits of pixels.

    Args:
        variant: What is compared.
        grid: Patches of the plain ViT along y and x; a partition has as many regions.
        vit: Weights of a plain ViT in DINOv2's layout.
        tokenizer: Weights of a dHT tokenizer, a file.
        num_classes: Classes.
        room: See :func:`build_tokenizer`.
    """

    def __init__(self, variant: Variant, grid: tuple[int, int], vit: dict[str, Tensor], tokenizer: str | None, num_classes: int,
                 room: int | None = None):
        super().__init__(variant, grid, retrofit(variant, grid, vit, tokenizer, room), from_zero=True, graphs=room is not None)
        self.decode = Decode(variant, grid, len(self.layers) * self.backbone.embed_dims, num_classes)

    def forward(self, images: Tensor, lattice: Lattice = ALL_PIXELS) -> tuple[Tensor, Partition | None]:
        """``[B, 3, H, W]`` normalised to ``[B, K, h, w]`` logits of the lattice's pixels and, but for plain patches, the partition."""
        _, tokens, scene = self.tokens(images)
        if scene is not None:
            return self.decode(tokens, scene, lattice), scene.partition
        logits = self.decode.classes(tokens).float().unflatten(0, (len(images), -1)).mT.unflatten(2, self.grid)
        return lattice.cut(self._interpolated(logits, *images.shape[2:])), None

    def regions(self, images: Tensor) -> tuple[Tensor, Partition]:
        """``[B, 3, H, W]`` to ``[R, K]`` logits of regions, which ``paint`` paints, and the partition.

        Raises:
            ValueError: Pixels have other logits, or there is no partition.
        """
        if self.variant.decodes != ('paint',) or self.variant.partition == 'plain':
            raise ValueError(f'a loss of regions needs a partition and paint, got {self.variant}')
        _, tokens, scene = self.tokens(images)
        with torch.autocast(tokens.device.type, enabled=False):
            return self.decode.classes(tokens.float()), scene.partition

    @staticmethod
    def _interpolated(cells: Tensor, height: int, width: int) -> Tensor:
        """Bilinear interpolation of ``[..., y, x]`` as two products of matrices: the gradient of torch's own takes half a step."""
        y, x = (F.interpolate(torch.eye(count, device=cells.device)[None], length, mode='linear', align_corners=False)[0]
                for count, length in zip(cells.shape[-2:], (height, width), strict=True))
        with torch.autocast(cells.device.type, enabled=False):
            return y.T @ cells @ x
