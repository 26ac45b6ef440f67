"""Multiply-adds of attention, for FLOP counters. torch's counter knows them once this package is imported.

It leaves out attention on the CPU.
"""

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import flop_registry, register_flop_formula, sdpa_backward_flop_count, sdpa_flop_count


def attention(query: Sequence[int], key: Sequence[int], value: Sequence[int]) -> int:
    """Of padded sequences, by shapes ``[B, heads, L, d]``, with what is padded."""
    return sdpa_flop_count(query, key, value) // 2


def packed_attention(query: Sequence[int], offsets: Sequence[int]) -> int:
    """Of packed sequences, by shapes ``[N, heads, d]`` and ``[B + 1]``, as if all images had as many tokens."""
    total, heads, dims = query
    return 2 * total * total // (offsets[0] - 1) * heads * dims


def _padded(query, key, value, *_, **__) -> int:
    return sdpa_flop_count(query, key, value)


def _padded_backward(grad, query, key, value, *_, **__) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


def register_flops() -> None:
    """Tell torch's FLOP counter what it does not know."""
    aten = torch.ops.aten
    for target, formula in ((aten._scaled_dot_product_flash_attention_for_cpu, _padded),
                            (aten._scaled_dot_product_flash_attention_for_cpu_backward, _padded_backward)):
        if target not in flop_registry:
            register_flop_formula(target)(formula)
