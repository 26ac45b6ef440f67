"""Tokens attend to their own image only, and every way to compute that gives the same."""

import pytest
import torch
import torch.nn.functional as F
from no_waiting import no_waiting
from torch import Tensor, nn

from dht_mm.encoder import Attention, PackedAttention, PaddedAttention, TokenLayout, packing

LENGTHS = [(5, 3, 9), (4, 4), (1,), (1, 7)]


def make_layout(lengths: tuple[int, ...], device: str = 'cpu') -> TokenLayout:
    offsets = torch.tensor([0, *lengths], device=device).cumsum(0).int()
    return TokenLayout(offsets, sum(lengths))


def draw(lengths: tuple[int, ...], heads: int = 2, dims: int = 8, **options) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(sum(lengths), heads, dims, generator=generator).to(**options) for _ in range(3)]


def attend(q: Tensor, k: Tensor, v: Tensor, layout: TokenLayout) -> Tensor:
    return layout.attention(q.dtype, q.shape[-1]).attend(q, k, v)


def image_by_image(q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Attention from its definition, one image after the other."""
    outputs = []
    for query, key, value in zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True):
        weights = (torch.einsum('nhd,mhd->hnm', query, key) / q.shape[-1]**0.5).softmax(-1)
        outputs.append(torch.einsum('hnm,mhd->nhd', weights, value))
    return torch.cat(outputs)


@pytest.mark.parametrize('lengths', LENGTHS)
def test_equals_attention_image_by_image(lengths: tuple[int, ...]):
    qkv = draw(lengths)
    assert torch.allclose(attend(*qkv, make_layout(lengths)), image_by_image(*qkv, lengths), atol=1e-6)


@pytest.mark.parametrize('lengths', LENGTHS)
def test_gradient(lengths: tuple[int, ...]):
    layout = make_layout(lengths)
    qkv = [x.requires_grad_() for x in draw(lengths, dims=2, dtype=torch.float64)]
    assert torch.autograd.gradcheck(lambda *qkv: attend(*qkv, layout), qkv)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('dims', [32, 4])
@pytest.mark.parametrize('lengths', LENGTHS)
def test_half_precision_on_a_gpu_gives_the_same(lengths: tuple[int, ...], dims: int, dtype: torch.dtype):
    qkv = [x.requires_grad_() for x in draw(lengths, dims=dims, device='cuda', dtype=dtype)]
    exact = [x.detach().double().requires_grad_() for x in qkv]
    output, expected = attend(*qkv, make_layout(lengths, 'cuda')), image_by_image(*exact, lengths)
    assert torch.allclose(output.double(), expected, atol=2e-2)
    output.float().square().sum().backward()
    expected.square().sum().backward()
    assert all(torch.allclose(x.grad.double(), y.grad, atol=0.1) for x, y in zip(qkv, exact, strict=True))


def test_layout_pads_and_unpads():
    layout = make_layout((2, 0, 3))
    attention = layout.attention(torch.float32, 8)
    padded = attention.pad(torch.arange(1, 6))
    assert padded.tolist() == [[1, 2, 0], [0, 0, 0], [3, 4, 5]] and attention.mask[:, 0, 0].tolist() == (padded > 0).tolist()
    assert attention.unpad(padded).tolist() == [1, 2, 3, 4, 5] and layout.image.tolist() == [0, 0, 2, 2, 2]
    assert layout.ends() == (0, 3) and make_layout((3, 3)).attention(torch.float32, 8).mask is None


def test_query_key_and_value_come_in_this_order():
    attention = Attention(8, 2)
    x = torch.randn(6, 8)
    q, k, v = (F.linear(x, weight, bias).view(6, 2, 4) for weight, bias in zip(
        attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3), strict=True))
    expected = attention.proj(image_by_image(q, k, v, (6,)).flatten(1))
    assert torch.allclose(attention(x, make_layout((6,)).attention(x.dtype, 4), nn.Identity()), expected, atol=1e-6)


def test_queries_and_keys_have_norms_of_their_own():
    attention = Attention(8, 2, qkv_bias=False, qk_norm=True)
    nn.init.normal_(attention.q_norm.weight)
    nn.init.normal_(attention.k_norm.bias)
    x = torch.randn(6, 8)
    q, k, v = (F.linear(x, weight).view(6, 2, 4) for weight in attention.qkv.weight.chunk(3))
    q, k = (F.layer_norm(y, (4,), norm.weight, norm.bias, 1e-6) for y, norm in ((q, attention.q_norm), (k, attention.k_norm)))
    expected = attention.proj(image_by_image(q, k, v, (6,)).flatten(1))
    output = attention(x, make_layout((6,)).attention(x.dtype, 4), nn.Identity())
    assert attention.qkv.bias is None and torch.allclose(output, expected, atol=1e-6)


def test_heads_must_divide_the_dimensions():
    with pytest.raises(ValueError, match='num_heads must divide embed_dims=8, got 3'):
        Attention(8, 3)


def test_attention_is_chosen_once():
    layout = make_layout((5, 3))
    chosen = layout.attention(torch.float32, 8)
    assert isinstance(chosen, PaddedAttention) and layout.attention(torch.bfloat16, 64) is chosen


@pytest.mark.parametrize('device, dtype, head_dims, packed', [
    ('cuda', torch.bfloat16, 64, True), ('cuda', torch.float16, 256, True), ('cpu', torch.bfloat16, 64, False),
    ('cuda', torch.float32, 64, False), ('cuda', torch.float16, 4, False), ('cuda', torch.float16, 264, False)])
def test_packed_kernel_serves_half_precision_on_a_gpu(monkeypatch, device: str, dtype: torch.dtype, head_dims: int, packed: bool):
    monkeypatch.setattr(packing, '_has_flash_attention', lambda device: True)
    assert packing.has_packed_kernel(torch.device(device), dtype, head_dims) == packed


def test_packed_kernel_has_the_arguments_we_know():
    assert packing._AS_EXPECTED
    q, k, v = (torch.zeros(9, 2, 64, device='meta', dtype=torch.float16, requires_grad=True) for _ in range(3))
    PackedAttention(torch.zeros(3, dtype=torch.int32, device='meta'), 7).attend(q, k, v).sum().backward()
    assert q.grad.shape == k.grad.shape == v.grad.shape == q.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_packed_and_padded_agree_on_a_gpu(dtype: torch.dtype):
    lengths = (197, 50, 1, 400)
    layout, qkv = make_layout(lengths, 'cuda'), draw(lengths, heads=3, dims=64, device='cuda', dtype=dtype)
    packed, padded = layout.attention(dtype, 64), make_layout(lengths, 'cuda').attention(torch.float32, 64)
    assert isinstance(packed, PackedAttention) and isinstance(padded, PaddedAttention)
    assert packed.longest == padded.longest == 400
    assert torch.allclose(packed.attend(*qkv).float(), padded.attend(*qkv).float(), atol=2e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_layout_does_not_wait_for_the_gpu():
    offsets = torch.tensor([0, 5, 8], device='cuda', dtype=torch.int32)
    with no_waiting():
        layout = TokenLayout(offsets, 8)
    assert layout.ends() == (3, 5)
