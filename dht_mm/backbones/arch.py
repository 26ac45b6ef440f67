"""Capacities of the backbone."""

from collections.abc import Mapping
from typing import NamedTuple


class Arch(NamedTuple):
    """A capacity.

    Attributes:
        embed_dims: Dimensions of a token.
        num_layers: Blocks.
        num_heads: Attention heads.
        feedforward_channels: Hidden dimensions of the MLPs.
        drop_path_rate: Stochastic depth of the last block that the paper trains this capacity with.
    """

    embed_dims: int
    num_layers: int
    num_heads: int
    feedforward_channels: int
    drop_path_rate: float = 0.0


ARCHS = {
    'small': Arch(384, 12, 6, 1536, 0.0),
    'medium': Arch(512, 12, 8, 2048, 0.1),
    'base': Arch(768, 12, 12, 3072, 0.2),
    'large': Arch(1024, 24, 16, 4096, 0.2),
    'huge': Arch(1280, 32, 16, 5120, 0.2),
}


def get_arch(arch: str | Mapping) -> Arch:
    """A capacity by its name, its first letter, or its numbers.

    Args:
        arch: Name, or a mapping with the fields of :class:`Arch`; ``feedforward_channels`` defaults to four times ``embed_dims``.

    Raises:
        ValueError: The name is unknown, or a field is missing, unknown or out of range.
    """
    if isinstance(arch, str):
        names = [name for name in ARCHS if arch.lower() in (name, name[0])]
        if not names:
            raise ValueError(f'arch must be one of {[*ARCHS]}, a first letter of one, or a dict, got {arch!r}')
        return ARCHS[names[0]]
    fields = dict(arch)
    needed, known = {*Arch._fields[:3]}, {*Arch._fields}
    if not needed <= fields.keys() <= known:
        raise ValueError(f'arch must have the keys {sorted(needed)} and may have {sorted(known - needed)}, got {arch!r}')
    fields.setdefault('feedforward_channels', 4 * fields['embed_dims'])
    result = Arch(**fields)
    if not all(isinstance(value, int) and value > 0 for value in result[:4]):
        raise ValueError(f'arch must hold positive integers, got {arch!r}')
    return result
