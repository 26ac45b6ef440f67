"""A ViT that segments: plain, or on regions."""

import torch
import torch.nn.functional as F
from content import Content, patch_tokens
from decoding import Decode, Lattice, Scene
from partitions import build_tokenizer
from torch import Tensor, nn
from variants import Variant
from windows import find_windows

from dht_mm.backbones import DHTViT
from dht_mm.converters import convert_vit
from dht_mm.embedding import sequence_offsets, split
from dht_mm.embedding.sequence import join
from dht_mm.encoder import TokenLayout
from dht_mm.ops import region_mean
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer, mean_shift
from dht_mm.tokenizer.checkpoint import load_tokenizer

ALL_PIXELS = Lattice()


def retrofit(variant: Variant, grid: tuple[int, int], vit: dict[str, Tensor], tokenizer: str | None) -> DHTViT:
    """The dHT-ViT with the weights of a plain ViT, its positions resampled to the grid, and a pre-trained tokenizer."""
    conversion = convert_vit(vit, 'dinov2', pos_grid=grid)
    module = build_tokenizer(variant.partition, grid, variant.numbers.get(variant.partition))
    inject = variant.end_to_end
    options = conversion.options | dict(features=conversion.options['features'] | dict(inject_mean=inject))
    backbone = DHTViT(module, out_type='tokens', drop_path_rate=0.0, **options)
    weights = {key.removeprefix('backbone.'): value for key, value in conversion.state_dict.items()}
    missing, unexpected = backbone.load_state_dict(weights, strict=False)
    if unexpected or any(not key.startswith(('tokenizer.', 'features.')) for key in missing):
        raise ValueError(f'vit must fit the backbone, but lacks {missing} and adds {unexpected}')
    if isinstance(module, DHTTokenizer) and tokenizer is not None:
        load_tokenizer(module, tokenizer)
    if (mix := variant.numbers.get('box')) is not None:
        nn.init.constant_(backbone.features.pixels.mix_logit, torch.logit(torch.tensor(mix)).item())
    return backbone


class Segmenter(nn.Module):
    """Images to logits of pixels.

    Args:
        variant: What is compared.
        grid: Patches of the plain ViT along y and x; a partition has as many regions.
        vit: Weights of a plain ViT in DINOv2's layout.
        tokenizer: Weights of a dHT tokenizer, a file.
        num_classes: Classes.
    """

    def __init__(self, variant: Variant, grid: tuple[int, int], vit: dict[str, Tensor], tokenizer: str | None, num_classes: int):
        super().__init__()
        self.variant, self.grid = variant, grid
        self.backbone = retrofit(variant, grid, vit, tokenizer)
        self.backbone.tokenizer.requires_grad_(variant.end_to_end)
        self.content = Content(variant, grid, self.backbone.patch_size, self.backbone.embed_dims)
        self.decode = Decode(variant, grid, self.backbone.embed_dims, num_classes)

    def forward(self, images: Tensor, lattice: Lattice = ALL_PIXELS) -> tuple[Tensor, Partition | None]:
        """``[B, 3, H, W]`` normalised to ``[B, K, h, w]`` logits of the lattice's pixels and, but for plain patches, the partition."""
        if self.variant.partition == 'plain':
            return lattice.cut(self._plain(images)), None
        scene, shift = self._scene(images)
        partition = scene.partition
        tokens = self.content(self.backbone, images, partition, scene.windows, shift)
        tokens = self._encode(join(self.backbone.embedding.cls_token, tokens, partition), sequence_offsets(partition, 1))
        return self.decode(split(tokens, partition, 1)[1], scene, lattice), partition

    def _scene(self, images: Tensor) -> tuple[Scene, Tensor | None]:
        """The images' regions, and what mean injection adds to their pixels."""
        end_to_end = self.variant.end_to_end
        with torch.set_grad_enabled(end_to_end and torch.is_grad_enabled()):
            partition = self.backbone.tokenizer(images)
            colour = partition.color
            if not end_to_end:
                colour = region_mean(images, partition.labels, partition.offsets, partition.size)
            shift = mean_shift(images, partition) if end_to_end else None
        with torch.no_grad():
            windows = find_windows(partition, self.grid, self.backbone.patch_size)
        return Scene(images, partition, windows, colour), shift

    def _plain(self, images: Tensor) -> Tensor:
        """Logits of patches, interpolated bilinearly."""
        tokens = patch_tokens(self.backbone, images, self.grid)
        batch, count, dims = tokens.shape
        cls_token = self.backbone.embedding.cls_token.expand(batch, 1, dims)
        tokens = torch.cat([cls_token, tokens.to(cls_token.dtype)], 1).flatten(0, 1)
        offsets = torch.arange(batch + 1, dtype=torch.int32, device=images.device) * (count + 1)
        tokens = self._encode(tokens, offsets).view(batch, count + 1, dims)[:, 1:]
        logits = self.decode.classes(tokens).float().mT.unflatten(2, self.grid)
        return F.interpolate(logits, images.shape[2:], mode='bilinear', align_corners=False)

    def _encode(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        encoder = self.backbone.encoder
        last = len(encoder.blocks) - 1
        return encoder(tokens, TokenLayout(offsets, len(tokens)), (last,))[last]
