"""What attention counts on packed sequences, which only a GPU can run."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from dht_mm.encoder import flops, packing


def test_packed_sequences_count_image_by_image():
    query, offsets = torch.zeros(9, 2, 8), torch.tensor([0, 2, 9])
    forward = flops._packed(query, query, query, offsets)
    assert forward == 2 * (2 * (2**2 + 7**2) * 2 * 8)
    assert flops._packed_backward(query, query, query, query, query, None, offsets) == forward * 5 // 2
    assert flops.packed_attention((8, 2, 8), (3,)) == 2 * (4**2 + 4**2) * 2 * 8


@pytest.mark.skipif(packing.varlen_attn is None, reason='needs torch 2.10')
def test_torch_knows_packed_attention():
    assert torch.ops.torch_attn._varlen_attn in flop_registry and torch.ops.torch_attn._varlen_attn_backward in flop_registry


@pytest.mark.skipif(packing.varlen_attn is None or not torch.cuda.is_available(), reason='needs a GPU and torch 2.10')
def test_torch_counts_packed_attention():
    qkv = [torch.randn(9, 2, 64, device='cuda', dtype=torch.float16, requires_grad=True) for _ in range(3)]
    offsets = torch.tensor([0, 2, 9], device='cuda', dtype=torch.int32)
    with FlopCounterMode(display=False) as counter:
        packing.PackedAttention(offsets, 7).attend(*qkv).sum().backward()
    assert counter.get_total_flops() == (2 + 5) * 2 * (2**2 + 7**2) * 2 * 64
