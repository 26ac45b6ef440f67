"""What stands before the blocks of a plain ViT: patches, positions and prefix tokens."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dht_mm.embedding import resize_positions

from .conversion import Conversion
from .patches import resize_patches
from .vit_layouts import Layout

REFERENCE_SCALE = 32  # of the position features


class StemSizes(NamedTuple):
    """Sizes of the weights of a stem.

    Attributes:
        in_channels: Channels of the images.
        patch_size: Side of the patches, to which the boxes of regions are resampled.
        pos_grid: Cells of the position features along y and x.
        pos_scale: Scale of the position features.
    """

    in_channels: int
    patch_size: int
    pos_grid: tuple[int, int]
    pos_scale: float


def convert_stem(conversion: Conversion, layout: Layout, source: str, target: str, patch_size: int | None = None,
                 pos_grid: tuple[int, int] | None = None, pos_scale: float | None = None,
                 source_grid: tuple[int, int] | None = None) -> StemSizes:
    """Convert the stem; arguments as in :func:`convert_vit`, with the prefixes of the keys of source and target."""
    for name, size in dict(patch_size=(patch_size,), pos_grid=pos_grid, pos_scale=(pos_scale,), source_grid=source_grid).items():
        if not all(side is None or 0 < side < math.inf for side in size or ()):
            raise ValueError(f'{name} must be positive and finite, got {size}')
    channels, patch_size = _convert_patches(conversion, f'{source}{layout.patch}', f'{target}patch_embed', patch_size)
    dims = len(conversion.state_dict[f'{target}patch_embed.bias'])
    names = {f'{source}cls_token': f'{target}cls_token', f'{source}{layout.registers}': f'{target}register_tokens'}
    names = {key: name for key, name in names.items() if key in conversion}
    prefix = [len(_rows(conversion, key, dims)) for key in names]
    positions = _rows(conversion, f'{source}pos_embed', dims)
    embedded, grid = _split_positions(len(positions), prefix, source_grid)
    _convert_prefix(conversion, names, positions[:embedded])
    new_grid = grid if pos_grid is None else pos_grid
    scale = math.sqrt(math.prod(new_grid)) if pos_scale is None else pos_scale
    antialias = layout.antialias or (layout.registers_antialias and f'{target}register_tokens' in names.values())
    weight = resize_positions(positions[embedded:].T, grid, new_grid, antialias) * (scale / REFERENCE_SCALE)**2
    conversion.put(f'{source}pos_embed', {f'{target}pos_embed.weight': weight.contiguous()}, _arrow(grid, new_grid))
    return StemSizes(channels, patch_size, new_grid, scale)


def _convert_patches(conversion: Conversion, source: str, target: str, patch_size: int | None) -> tuple[int, int]:
    """Channels and new side of the patches."""
    weight = conversion.read(f'{source}.weight')
    if weight.dim() != 4 or weight.shape[2] != weight.shape[3]:
        raise ValueError(f'{source}.weight must be [D, C, q, q], got shape {tuple(weight.shape)}')
    dims, channels, old_size, _ = weight.shape
    size = old_size if patch_size is None else patch_size
    flat = (weight.clone() if size == old_size else resize_patches(weight, size)).flatten(1)
    conversion.put(f'{source}.weight', {f'{target}.weight': flat}, _arrow((old_size, old_size), (size, size)))
    if f'{source}.bias' not in conversion:
        conversion.fill(f'{target}.bias', torch.zeros(dims), '0')
    elif conversion.read(f'{source}.bias').shape != (dims,):
        raise ValueError(f'{source}.bias must be of shape ({dims},), got {tuple(conversion.read(f"{source}.bias").shape)}')
    else:
        conversion.move(f'{source}.bias', f'{target}.bias')
    return channels, size


def _convert_prefix(conversion: Conversion, names: dict[str, str], positions: Tensor) -> None:
    """Prefix tokens become what they are with their positional embeddings; the later ones may have none."""
    for source, target in names.items():
        tokens = conversion.read(source)[0].clone()
        own, positions = positions[:len(tokens)], positions[len(tokens):]
        tokens[:len(own)] += own
        conversion.put(source, {target: tokens})


def _rows(conversion: Conversion, key: str, dims: int) -> Tensor:
    """``[N, D]``, embeddings that the source keeps with a batch dimension."""
    value = conversion.read(key)
    if value.dim() != 3 or len(value) != 1 or value.shape[2] != dims:
        raise ValueError(f'{key} must be [1, N, {dims}], got shape {tuple(value.shape)}')
    return value[0]


def _split_positions(rows: int, prefix: list[int], grid: tuple[int, int] | None) -> tuple[int, tuple[int, int]]:
    """How many positional embeddings are those of prefix tokens (none, the first kind's or all), and the grid of the others."""
    for embedded in dict.fromkeys([sum(prefix[:1]), sum(prefix), 0]):
        side = math.isqrt(max(rows - embedded, 0))
        cells = (side, side) if grid is None else grid
        if cells[0] > 0 and math.prod(cells) == rows - embedded:
            return embedded, cells
    raise ValueError(f'source_grid must tell the patches along y and x of {rows} positional embeddings, those of {sum(prefix)} '
                     f'prefix tokens perhaps among them, got {grid}')


def _arrow(old: tuple[int, int], new: tuple[int, int]) -> str | None:
    return None if old == new else f'{old[0]}x{old[1]} -> {new[0]}x{new[1]}'
