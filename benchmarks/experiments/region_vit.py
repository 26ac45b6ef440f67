"""A ViT on patches or on regions, with all that is compared about its tokens."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from content import Content, patch_tokens
from torch import Tensor, nn
from variants import Variant
from windows import Windows, find_windows

from dht_mm.backbones import DHTViT
from dht_mm.backbones.cuda_graph import CUDAGraphs
from dht_mm.embedding import sequence_offsets, split
from dht_mm.embedding.sequence import join
from dht_mm.encoder import TokenLayout
from dht_mm.structures import Partition
from dht_mm.tokenizer import mean_shift

Result = TypeVar('Result')


class Scene(NamedTuple):
    """What is known of the images' regions.

    Attributes:
        images: ``[B, 3, H, W]``, normalised.
        partition: The regions.
        windows: Their windows.
    """

    images: Tensor
    partition: Partition
    windows: Windows


class RegionViT(nn.Module):
    """Runs the parts of a :class:`DHTViT` on tokens of another content.

    Args:
        variant: What the tokens are.
        grid: Patches of the plain ViT along y and x; a partition has as many regions.
        backbone: Tokenizer, embedding and encoder.
        from_zero: See :class:`Content`.
        graphs: Whether :meth:`replay` may record.
    """

    def __init__(self, variant: Variant, grid: tuple[int, int], backbone: DHTViT, from_zero: bool, graphs: bool):
        super().__init__()
        self.variant, self.grid, self.backbone = variant, grid, backbone
        self.graphs = CUDAGraphs() if graphs and variant.partition != 'soft' else None
        depth = len(backbone.encoder.blocks)
        parts = (1, 2, 3, 4) if 'upernet' in variant.decodes else (4,)
        self.layers = tuple(-(-depth * part // 4) - 1 for part in parts)
        backbone.tokenizer.requires_grad_(variant.end_to_end)
        self.content = Content(variant, grid, backbone.patch_size, backbone.embed_dims, from_zero)

    def train(self, mode: bool = True) -> 'RegionViT':
        """Set the mode; a frozen tokenizer stays in evaluation."""
        super().train(mode)
        self.backbone.tokenizer.train(mode and self.variant.end_to_end)
        return self

    def replay(self, function: Callable[[Tensor], Result], batch: Tensor) -> Result:
        """``function(batch)``, which may read this module; on a GPU from a CUDA graph, which the host launches at once."""
        return self.graphs(function, self, batch) if self.graphs else function(batch)

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor, Scene | None]:
        """``[B, 3, H, W]`` to class tokens ``[B, D]``, the others ``[R, D]`` and, but for plain patches, where these lie."""
        if self.variant.partition == 'plain':
            return *self._plain(images), None
        scene, shift = self.scene(images)
        tokens = self.content(self.backbone, images, scene.partition, scene.windows, shift)
        tokens = join(self.backbone.embedding.cls_token, tokens, scene.partition)
        cls_tokens, regions = split(self._encode(tokens, self._layout(scene.partition)), scene.partition, 1)
        return cls_tokens[:, 0], regions, scene

    def scene(self, images: Tensor) -> tuple[Scene, Tensor | None]:
        """The images' regions and, where the tokenizer is trained, what mean injection adds to their pixels, ``[R, 3]``."""
        end_to_end = self.variant.end_to_end
        with torch.set_grad_enabled(end_to_end and torch.is_grad_enabled()):
            partition = self.backbone.tokenizer(images)
            shift = mean_shift(images, partition) if end_to_end else None
        with torch.no_grad():
            windows = find_windows(partition, self.grid, self.backbone.patch_size, self.variant.content)
        return Scene(images, partition, windows), shift

    def _plain(self, images: Tensor) -> tuple[Tensor, Tensor]:
        tokens = patch_tokens(self.backbone, images, self.grid)
        batch, count, dims = tokens.shape
        cls_token = self.backbone.embedding.cls_token.expand(batch, 1, dims)
        tokens = torch.cat([cls_token, tokens.to(cls_token.dtype)], 1).flatten(0, 1)
        offsets = torch.arange(batch + 1, dtype=torch.int32, device=images.device) * (count + 1)
        tokens = self._encode(tokens, TokenLayout(offsets, len(tokens), count + 1)).unflatten(0, (batch, count + 1))
        return tokens[:, 0], tokens[:, 1:].flatten(0, 1)

    def _layout(self, partition: Partition) -> TokenLayout:
        most = partition.max_regions
        return TokenLayout(sequence_offsets(partition, 1), partition.total_regions + len(partition), None if most is None else most + 1)

    def _encode(self, tokens: Tensor, layout: TokenLayout) -> Tensor:
        layers = self.backbone.encoder(tokens, layout, self.layers)
        *inner, last = (layers[layer] for layer in self.layers)
        return torch.cat([F.layer_norm(x, x.shape[-1:]) for x in inner] + [last], -1)
