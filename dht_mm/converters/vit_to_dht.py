"""A plain ViT as a dHT-ViT that computes the same (paper, retrofitting)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .conversion import Conversion
from .vit_layouts import LAYOUTS, Layout, detect_layout
from .vit_options import vit_options
from .vit_shapes import check_shapes
from .vit_stem import convert_stem

LEAVES = ('weight', 'bias')
NEEDED = {f'{module}.{leaf}' for module in ('norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2') for leaf in LEAVES}
NEEDED.remove('attn.qkv.bias')
SQUARES = 'keeps its start, which does not matter for squares'
MISSING = {'features.pixels.mix_logit': SQUARES, 'features.pixels.mask_token': SQUARES, 'tokenizer.*': 'is pre-trained by itself'}


def convert_vit(state_dict: Mapping[str, Tensor], layout: str = 'auto', *, gradient: bool = False, **sizes: Any) -> Conversion:
    """Convert a plain ViT to the weights of a model with a ``DHTViT`` under ``backbone.``; a linear classifier goes to ``head.fc``.

    With a ``GridTokenizer`` of the source's patch size and ``pos_grid`` the grid of an image's patches, the result computes what
    the source does for images of that size: the pixel features of a square are its pixels, and its position features are one
    cell's. The latter are ``(32 / pos_scale)^2``, so that positional embeddings are multiplied by the inverse.

    Args:
        state_dict: Weights of mmpretrain's ``VisionTransformer`` or ``DeiT3`` (or of a classifier that has one), of a ``vit_*`` or
            ``deit3_*`` of timm, or of a model of the DINOv2 or DeiT III code. Half precision becomes float32.
        layout: ``'timm'``, ``'mmpretrain'``, ``'dinov2'``, ``'deit3'``, or ``'auto'`` to tell by the names.
        gradient: Whether the result has weights for gradient features, which are 0.
        **sizes: ``patch_size``, ``pos_grid`` (cells along y and x) and ``pos_scale`` of the result, where they are not those of the
            source and the side of the grid; ``source_grid``, the source's patches along y and x, where they are not a square
            (weights do not always show that).

    Returns:
        The conversion; its ``options`` are those of a ``DHTViT`` that has these weights.

    Raises:
        ValueError: A key is missing or unknown, a value is not finite or of an unknown shape, or an argument is out of its range.
    """
    if layout not in ('auto', *LAYOUTS):
        raise ValueError(f"layout must be 'auto' or one of {[*LAYOUTS]}, got {layout!r}")
    name = detect_layout(state_dict) if layout == 'auto' else layout
    conversion = Conversion({key: _widened(key, value) for key, value in state_dict.items()}, name)
    source, target = 'backbone.' if any(key.startswith('backbone.') for key in state_dict) else '', 'backbone.'
    for key, reason in LAYOUTS[name].unused.items():
        conversion.leave(f'{source}{key}', reason)
    stem = convert_stem(conversion, LAYOUTS[name], source, f'{target}embedding.', **sizes)
    dims = len(conversion.state_dict[f'{target}embedding.patch_embed.bias'])
    if gradient:
        conversion.fill(f'{target}embedding.gradient_embed.weight', torch.zeros(dims, stem.patch_size**2), '0')
        conversion.missing[f'{target}features.gradient.curve'] = 'is a setting of the model'
    _convert_blocks(conversion, LAYOUTS[name], source, f'{target}encoder.blocks.', dims)
    _convert_ends(conversion, LAYOUTS[name], source, target)
    conversion.missing |= {f'{target}{key}': reason for key, reason in MISSING.items()}
    weights = conversion.finish().state_dict
    backbone = {key.removeprefix(target): value for key, value in weights.items() if key.startswith(target)}
    check_shapes(backbone, conversion.mapped)
    conversion.options = vit_options(backbone, stem)
    return conversion


def _widened(key: str, value: Tensor) -> Tensor:
    if not value.is_floating_point() or not value.isfinite().all():
        raise ValueError(f'{key} must hold finite floats, got {value.dtype} of shape {tuple(value.shape)} with others')
    return value.float()


def _convert_blocks(conversion: Conversion, layout: Layout, source: str, target: str, dims: int) -> None:
    """All blocks must have what the first has, and that must be a whole block."""
    start = f'{source}{layout.blocks}'
    inner = [key.removeprefix(start).partition('.')[::2] for key in conversion.keys() if key.startswith(start)]
    names = {f'{old}.{leaf}': f'{new}.{leaf}' for old, new in layout.block.items() for leaf in LEAVES} | layout.scales
    first = {old: names[old] for number, old in inner if number == '0' and old in names}
    needed = {new: old for old, new in reversed(names.items()) if new in NEEDED and new not in first.values()}
    for number in range(len({number for number, _ in inner})):
        for old, new in [*first.items(), *((old, new) for new, old in needed.items())]:
            conversion.move(f'{start}{number}.{old}', f'{target}{number}.{new}')
        for scale in set(layout.scales.values()) - set(first.values()):
            conversion.fill(f'{target}{number}.{scale}', torch.ones(dims), '1')


def _convert_ends(conversion: Conversion, layout: Layout, source: str, target: str) -> None:
    """Norms outside of the blocks, and the classifier."""
    modules = {f'{source}{old}': f'{target}{new}' for old, new in layout.modules.items()} | dict.fromkeys(layout.head, 'head.fc')
    for old, new in modules.items():
        if f'{old}.weight' in conversion or f'{old}.bias' in conversion:
            for leaf in LEAVES:
                conversion.move(f'{old}.{leaf}', f'{new}.{leaf}')
