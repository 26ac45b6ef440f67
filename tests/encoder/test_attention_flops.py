"""What attention on packed sequences counts, which only a GPU can run."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dht_mm.encoder import PackedAttention, flops

FORWARD = 2 * (2 * (2**2 + 7**2) * 2 * 64)  # two products, image by image


def test_multiply_adds_take_images_of_equal_length():
    assert flops.packed_attention((8, 2, 8), (3,)) == 2 * (4**2 + 4**2) * 2 * 8


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_torch_counts_image_by_image():
    qkv = [torch.randn(9, 2, 64, device='cuda', dtype=torch.float16, requires_grad=True) for _ in range(3)]
    with FlopCounterMode(display=False) as counter:
        PackedAttention(torch.tensor([0, 2, 9], device='cuda', dtype=torch.int32), 7).attend(*qkv).sum().backward()
    assert counter.get_total_flops() == FORWARD + 5 * FORWARD // 2


def test_torch_knows_the_operator():
    q = torch.zeros(9, 2, 64, device='meta', dtype=torch.float16, requires_grad=True)
    with FlopCounterMode(display=False) as counter:  # without values it takes each of the two images to be the longest
        PackedAttention(torch.zeros(3, dtype=torch.int32, device='meta'), 7).attend(q, q, q).sum().backward()
    assert counter.get_total_flops() == 7 * 2 * (2 * 7**2) * 2 * 64
