"""What mmengine's FLOP counter has to know of this package. By itself it counts attention and our ops as zero."""

from collections.abc import Callable
from typing import Any

from mmengine.analysis.jit_handles import Handle, get_shape

from dht_mm.encoder.flops import attention, packed_attention
from dht_mm.ops.flops import MULTIPLY_ADDS, Shapes


def flop_handles() -> dict[str, Handle]:
    """Handles of attention and of our ops, one multiply-add being one FLOP as always in mmengine.

    ``FlopAnalyzer(model, (images,)).set_op_handle(**flop_handles()).total()`` then is right. Trace in evaluation; sequences of several
    images count with their padding.
    """
    handles = {f'dht_mm::{name}': _handle(formula) for name, formula in MULTIPLY_ADDS.items()}
    return handles | {
        'aten::scaled_dot_product_attention': _handle(lambda inputs, _: attention(*inputs[:3])),
        'aten::_flash_attention_forward': _handle(lambda inputs, _: packed_attention(inputs[0], inputs[3]))}


def _handle(formula: Callable[[Shapes, Shapes], int]) -> Handle:
    def count(inputs: list[Any], outputs: list[Any]) -> int:
        return formula([get_shape(value) for value in inputs], [get_shape(value) for value in outputs])

    return count
