"""Models to convert, and what they become."""

import pytest
import torch
from torch import Tensor, nn

from dht_mm.backbones import DHTViT
from dht_mm.converters import Conversion
from dht_mm.tokenizer import GridTokenizer


def randomise(model: nn.Module, std: float = 0.1) -> nn.Module:
    """Weights under which every part matters: norms and scales near 1, everything else far from 0."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, float('gamma' in name or parameter.dim() == 1 and 'weight' in name), std)
    model.eval()
    return model


def make_timm(name: str, side: int = 6, **options) -> nn.Module:
    """Two thin blocks of a model of timm's, for a grid of ``side`` patches."""
    timm = pytest.importorskip('timm')
    patch_size = int(name.split('patch')[1].split('_')[0])
    return randomise(timm.create_model(name, **dict(depth=2, embed_dim=48, num_heads=3, img_size=side * patch_size) | options))


def retrofit(conversion: Conversion, tokenizer_size: int | None = None, num_heads: int | None = None, **options) -> DHTViT:
    """The model that the conversion is for, on squares."""
    options = conversion.options | options
    if num_heads is not None:
        options['arch'] = options['arch'] | dict(num_heads=num_heads)
    model = DHTViT(GridTokenizer(tokenizer_size or options['patch_size']), **options)
    weights = {key.removeprefix('backbone.'): value for key, value in conversion.state_dict.items() if key.startswith('backbone.')}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert all(key.startswith('avg_norm.') for key in unexpected)
    assert {f'backbone.{key}' for key in missing} <= conversion.missing.keys()
    return model.eval()


def draw_images(size: int | tuple[int, int], channels: int = 3) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(1))
