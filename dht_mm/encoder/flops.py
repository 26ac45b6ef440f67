"""Multiply-adds of attention, for FLOP counters. torch's counter knows them once this package is imported.

It leaves out attention on the CPU, and before torch 2.12 that on packed sequences.
"""

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import flop_registry, register_flop_formula, sdpa_backward_flop_count, sdpa_flop_count

from . import packing


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


def _packed(query, key, value, offsets, *_, **__) -> int:
    _, heads, dims = query.shape
    return 4 * heads * dims * int(offsets.long().diff().square().sum())


def _packed_backward(grad, query, key, value, out, lse, offsets, *_, **__) -> int:
    return 5 * _packed(query, key, value, offsets) // 2  # the scores once more, and two products for each of the two


def register_flops() -> None:
    """Tell torch's FLOP counter what it does not know."""
    aten = torch.ops.aten
    formulas = [(aten._scaled_dot_product_flash_attention_for_cpu, _padded, False),
                (aten._scaled_dot_product_flash_attention_for_cpu_backward, _padded_backward, False)]
    if packing.varlen_attn is not None:
        packed = torch.ops.torch_attn
        formulas += [(packed._varlen_attn, _packed, True), (packed._varlen_attn_backward, _packed_backward, True)]
    for target, formula, get_raw in formulas:
        if target not in flop_registry:
            register_flop_formula(target, get_raw)(formula)
