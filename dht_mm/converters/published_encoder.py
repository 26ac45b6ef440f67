"""The layout of encoders in the published code: tokenizer, extractor, embedder, blocks, norm and head."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import Tensor

from .conversion import Conversion
from .published_tokenizer import CURVE, move_tokenizer

BLOCK = tuple(f'{module}.{name}' for module in ('norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2')
              for name in ('weight', 'bias'))
LAYER_SCALE = ('ls1', 'ls2')
MLP_HEAD = {'head.0.fc1': 'decode_head.mlp.fc1', 'head.0.fc2': 'decode_head.mlp.fc2', 'head.1': 'decode_head.conv_seg'}
LINEAR_HEADS = {'cls': 'head.fc', 'seg': 'decode_head.conv_seg'}


class FeatureSizes(NamedTuple):
    """Settings of the region features that the shapes of weights tell.

    Attributes:
        in_channels: Channels of the images.
        patch_size: Side of the resampled boxes.
        pos_grid: Cells of the position histogram along y and x.
        gradient: Whether there are gradient features.
    """

    in_channels: int
    patch_size: int
    pos_grid: tuple[int, int]
    gradient: bool

    def columns(self) -> list[int]:
        """Columns of each feature group in the linear map of the embedding."""
        groups = [self.in_channels * self.patch_size**2, math.prod(self.pos_grid)]
        return [*groups, self.patch_size**2] if self.gradient else groups


def convert_encoder(state_dict: Mapping[str, Tensor], pos_grid: tuple[int, int] | None = None,
                    head: str | None = None) -> Conversion:
    """Convert a published encoder to the weights of a model of the toolkits, with a ``DHTViT`` under ``backbone.``.

    A linear head becomes the ``LinearClsHead`` of mmpretrain or a linear ``TokenHead``, an MLP head an MLP ``TokenHead``.

    Args:
        state_dict: Keys ``tokenizer.*``, ``extractor.*``, ``embedder.*``, ``blocks.*``, ``norm.*``, and possibly ``head.*``.
        pos_grid: Cells of the position histogram along y and x; None to infer a square grid from the shapes.
        head: ``'cls'`` or ``'seg'``, what a linear head is for; None means ``'cls'``.

    Raises:
        ValueError: A key is missing or unknown, an argument is out of its range, or the shapes leave the feature groups open.
    """
    conversion = Conversion(state_dict)
    sizes = infer_sizes(conversion, pos_grid)
    move_tokenizer(conversion, 'tokenizer.', 'backbone.tokenizer.')
    _move_embedding(conversion, sizes)
    _move_blocks(conversion)
    _move_head(conversion, head)
    return conversion.finish()


def infer_sizes(conversion: Conversion, pos_grid: tuple[int, int] | None = None) -> FeatureSizes:
    """Settings of the region features; see :func:`convert_encoder`."""
    channels, patch_size, _ = conversion.read('extractor.pixel_mask_token').shape
    columns = conversion.read('embedder.proj.weight').shape[1]
    candidates = []
    for gradient in (False, True):
        cells = columns - (channels + gradient) * patch_size**2
        side = math.isqrt(max(cells, 0))
        grid = (side, side) if pos_grid is None else pos_grid
        if cells > 0 and math.prod(grid) == cells:
            candidates.append(FeatureSizes(channels, patch_size, grid, gradient))
    if len(candidates) != 1:
        square = f'{patch_size}x{patch_size}'
        raise ValueError(f'pos_grid must tell how the {columns} columns of embedder.proj.weight split into {channels}x{square} '
                         f'pixels, positions and possibly {square} gradients, got {pos_grid!r}')
    return candidates[0]


def _move_embedding(conversion: Conversion, sizes: FeatureSizes) -> None:
    conversion.move('extractor._mix', 'backbone.features.pixels.mix_logit')
    conversion.move('extractor.pixel_mask_token', 'backbone.features.pixels.mask_token')
    groups = [f'backbone.embedding.{group}_embed.weight' for group in ('patch', 'pos', 'gradient')]
    columns = sizes.columns()
    conversion.split('embedder.proj.weight', groups[:len(columns)], columns)
    conversion.move('embedder.proj.bias', 'backbone.embedding.patch_embed.bias')
    conversion.move('embedder.cls_token', 'backbone.embedding.cls_token')
    if 'embedder.norm_pre.weight' in conversion:
        for name in ('weight', 'bias'):
            conversion.move(f'embedder.norm_pre.{name}', f'backbone.embedding.pre_norm.{name}')
    if sizes.gradient:
        conversion.move(f'tokenizer.{CURVE}', 'backbone.features.gradient.curve')
    else:
        conversion.leave(f'tokenizer.{CURVE}', 'a setting of gradient features, which this encoder has not')


def block_keys(num_layers: int, scaled: bool) -> Iterator[tuple[str, str]]:
    """The published name of each weight of the blocks, with LayerScale or without, and of the final norm, and ours."""
    for block in (f'blocks.{number}' for number in range(num_layers)):
        yield from ((f'{block}.{name}', f'backbone.encoder.{block}.{name}') for name in BLOCK)
        yield from ((f'{block}.{name}.lambda_', f'backbone.encoder.{block}.{name}.gamma') for name in LAYER_SCALE if scaled)
    yield from ((f'norm.{name}', f'backbone.encoder.norm.{name}') for name in ('weight', 'bias'))


def _move_blocks(conversion: Conversion) -> None:
    numbers = {key.split('.')[1] for key in conversion.keys() if key.startswith('blocks.')}
    scaled = any(key.endswith('.lambda_') for key in conversion.keys())
    for old, new in block_keys(len(numbers), scaled):
        conversion.move(old, new)


def _move_head(conversion: Conversion, head: str | None) -> None:
    if head not in (None, 'cls', 'seg'):
        raise ValueError(f"head must be 'cls', 'seg' or None, got {head!r}")
    is_mlp = 'head.0.fc1.weight' in conversion
    if is_mlp and head == 'cls':
        raise ValueError("head must be 'seg' for an MLP head, got 'cls'")
    if is_mlp:
        modules = MLP_HEAD
    else:
        modules = {'head': LINEAR_HEADS[head or 'cls']} if 'head.weight' in conversion else {}
    for old, new in modules.items():
        for name in ('weight', 'bias'):
            conversion.move(f'{old}.{name}', f'{new}.{name}')
