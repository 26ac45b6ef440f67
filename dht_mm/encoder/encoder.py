"""The stack of transformer blocks."""

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .block import Block
from .layout import TokenLayout


class Encoder(nn.Module):
    """A pre-norm vision transformer over packed tokens (Dosovitskiy et al., 2021), without patches and positions.

    Args:
        embed_dims: Dimensions of a token, D.
        num_layers: Blocks.
        num_heads: Attention heads.
        feedforward_channels: Hidden dimensions of the MLPs.
        drop_path_rate: Of the last block; it grows linearly from 0 in the first.
        final_norm: Whether to normalise the tokens of the last block.
        norm_eps: Epsilon of all norms.
        with_cp: Whether to save memory in training by computing each block again in the backward pass.
        compile_blocks: Whether to compile the blocks (``torch.compile``), once for all of them and all numbers of tokens.
        **options: Further options of :class:`Block`.
    """

    def __init__(self, embed_dims: int, num_layers: int, num_heads: int, feedforward_channels: int, drop_path_rate: float = 0.0,
                 final_norm: bool = True, norm_eps: float = 1e-6, with_cp: bool = False,
                 compile_blocks: bool = False, **options: Any):
        super().__init__()
        rates = [drop_path_rate * index / max(num_layers - 1, 1) for index in range(num_layers)]
        blocks = [Block(embed_dims, num_heads, feedforward_channels, rate, norm_eps=norm_eps, **options) for rate in rates]
        for block in blocks:
            block.compiled = compile_blocks
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(embed_dims, norm_eps) if final_norm else nn.Identity()
        self.with_cp = with_cp
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, layout: TokenLayout | Tensor, out_indices: Collection[int],
                rows: Tensor | None = None) -> dict[int, Tensor]:
        """Run the blocks up to the last one that is asked for.

        Args:
            x: ``[N, D]``, the tokens of all images.
            layout: Where the images lie, or the ``[B + 1]`` int32 offsets to make that of: first token of each image, then N.
            out_indices: Blocks whose tokens are wanted, counted from 0.
            rows: ``[K]`` int64, the tokens that are wanted of them; all by default. The last block computes no others.

        Returns:
            ``[N, D]`` or ``[K, D]`` of each block in ``out_indices``; those of the last block of all have gone through the final norm.
        """
        layout = TokenLayout(layout, len(x)) if isinstance(layout, Tensor) else layout
        last = max(out_indices)
        outputs = {}
        for index, block in enumerate(self.blocks[:last + 1]):
            x = self._run(block, x, layout, rows if index == last else None)
            if index in out_indices:
                outputs[index] = x if rows is None or index == last else x.index_select(0, rows)
        if last == len(self.blocks) - 1:
            outputs[last] = self.norm(x)
        return outputs

    def _run(self, block: nn.Module, x: Tensor, *inputs: TokenLayout | Tensor | None) -> Tensor:
        if self.with_cp and x.requires_grad:
            return checkpoint(block, x, *inputs, use_reentrant=False)
        return block(x, *inputs)
