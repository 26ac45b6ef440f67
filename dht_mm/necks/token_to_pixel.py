"""Packed tokens to a pyramid of feature maps."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from dht_mm.ops import pool_cells
from dht_mm.registry import MODELS
from dht_mm.structures import RegionMaps, RegionTokens


@MODELS.register_module()
class TokenToPixel(BaseModule):
    """Feature maps of several strides from the tokens of regions.

    A level is what painting each region with its token and average pooling gives, without the painted map: each cell takes the
    mean of the tokens that cover it, weighted by the pixels that they cover. Averages of a linear map are the linear map of the
    averages, so ``out_channels`` are made from the tokens, of which there are fewer than cells. Source: the paper's section on
    dense prediction (scatter to pixels and pool).

    Args:
        in_channels: Dimensions of a token, D.
        strides: Side of a cell in pixels, one for each level.
        out_channels: Channels of all levels, or of each; a level is a linear map of the tokens then. None, for all or for one,
            keeps D and has no weights, which suits a level that no head reads.
        init_cfg: Initialisation of mmengine.

    Raises:
        ValueError: An argument is no positive integer, there is no level, or ``out_channels`` are not one for each level.
    """

    def __init__(self, in_channels: int, strides: Sequence[int] = (4, 8, 16, 32), out_channels: int | Sequence[int | None] | None = None,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if not strides:
            raise ValueError(f'strides must name at least one level, got {strides!r}')
        channels = [out_channels] * len(strides) if out_channels is None or isinstance(out_channels, int) else list(out_channels)
        if len(channels) != len(strides):
            raise ValueError(f'out_channels must be one for each of the {len(strides)} strides, got {out_channels!r}')
        for name, values in (('in_channels', [in_channels]), ('strides', strides), ('out_channels', channels)):
            if not all(value is None or isinstance(value, int) and value > 0 for value in values):
                raise ValueError(f'{name} must be positive integers, got {values!r}')
        self.in_channels, self.strides = in_channels, tuple(strides)
        self.projections = nn.ModuleList(
            nn.Identity() if level is None else nn.Linear(in_channels, level) for level in channels)

    def forward(self, inputs: RegionTokens) -> RegionMaps:
        """Paint and pool.

        Args:
            inputs: Tokens of one block, from which all levels are made, or of one block for each level.

        Returns:
            One ``[B, D, ceil(H / stride), ceil(W / stride)]`` for each level, with the partition.

        Raises:
            TypeError: ``inputs`` are not what a token backbone gives.
            ValueError: The number of blocks is another, or the tokens have other dimensions.
        """
        if not isinstance(inputs, RegionTokens):
            raise TypeError("inputs must be RegionTokens, which a backbone with out_type='tokens' gives, "
                            f'got {type(inputs).__name__}')
        blocks, levels = inputs.tokens, len(self.strides)
        if len(blocks) not in (1, levels):
            raise ValueError(f"the backbone's out_indices must name 1 block or one for each of the {levels} strides, "
                             f'got {len(blocks)}')
        if wrong := [block.shape[1] for block in blocks if block.shape[1] != self.in_channels]:
            raise ValueError(f'in_channels={self.in_channels}, but tokens have {wrong[0]} dimensions')
        blocks = blocks if len(blocks) == levels else blocks * levels
        maps = (self._level(*level, inputs) for level in zip(blocks, self.projections, self.strides, strict=True))
        return RegionMaps(maps, inputs.partition)

    @staticmethod
    def _level(tokens: Tensor, projection: nn.Module, stride: int, inputs: RegionTokens) -> Tensor:
        return pool_cells(projection(tokens), inputs.partition.labels, inputs.partition.offsets, stride)
