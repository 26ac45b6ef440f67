"""A pretrained ViT that segments: plain, or on regions."""

import torch
import torch.nn.functional as F
from decoding import Decode, Lattice
from partitions import build_tokenizer
from region_vit import RegionViT
from torch import Tensor, nn
from variants import Variant

from dht_mm.backbones import DHTViT
from dht_mm.converters import convert_vit
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer

ALL_PIXELS = Lattice()


def retrofit(variant: Variant, grid: tuple[int, int], vit: dict[str, Tensor], tokenizer: str | None) -> DHTViT:
    """The dHT-ViT with the weights of a plain ViT, its positions resampled to the grid, and a pre-trained tokenizer."""
    conversion = convert_vit(vit, 'dinov2', pos_grid=grid)
    module = build_tokenizer(variant.partition, grid, variant.numbers.get(variant.partition))
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
    """

    def __init__(self, variant: Variant, grid: tuple[int, int], vit: dict[str, Tensor], tokenizer: str | None, num_classes: int):
        super().__init__(variant, grid, retrofit(variant, grid, vit, tokenizer), from_zero=True)
        channels = 3 + (self.backbone.tokenizer.color.in_features if 'hidden' in variant.decodes else 0)
        self.decode = Decode(variant, grid, len(self.layers) * self.backbone.embed_dims, num_classes, channels)

    def forward(self, images: Tensor, lattice: Lattice = ALL_PIXELS) -> tuple[Tensor, Partition | None]:
        """``[B, 3, H, W]`` normalised to ``[B, K, h, w]`` logits of the lattice's pixels and, but for plain patches, the partition."""
        _, tokens, scene = self.tokens(images)
        if scene is not None:
            return self.decode(tokens, scene, self._pixels(images), lattice), scene.partition
        logits = self.decode.classes(tokens).float().unflatten(0, (len(images), -1)).mT.unflatten(2, self.grid)
        return lattice.cut(F.interpolate(logits, images.shape[2:], mode='bilinear', align_corners=False)), None

    def _pixels(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]``: what the decode knows of a pixel."""
        if 'hidden' not in self.variant.decodes:
            return images
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return torch.cat([images, self.backbone.tokenizer.projection(images)], 1)
