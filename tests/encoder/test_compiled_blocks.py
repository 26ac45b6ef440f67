"""Compiled blocks give what they give uncompiled, and are compiled once for all numbers of tokens."""

import shutil
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.utils import counters

from dht_mm.encoder import Block, Encoder, PackedAttention, block

BATCHES = [(5, 3, 9), (2, 7), (30, 31, 1, 8), (12, 5)]
NEAR = dict(rtol=1e-3, atol=1e-5)


def graphs() -> int:
    """Graphs compiled so far."""
    return counters['stats']['unique_graphs']


@pytest.fixture
def no_compiler(monkeypatch) -> Iterator[None]:
    """Compile to graphs that torch runs operator by operator, which is quicker and needs no compiler."""
    compiled = torch.compile(block._run, dynamic=True, backend='aot_eager')
    monkeypatch.setattr(block, '_compiled_run', lambda: compiled)
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def make_encoder(device: str = 'cpu', **options: float | bool) -> Encoder:
    torch.manual_seed(0)
    return Encoder(32, 3, 2, 48, **options).to(device)


def train(encoder: Encoder, lengths: tuple[int, ...], device: str = 'cpu', only_first: bool = False,
          dtype: torch.dtype | None = None) -> list[Tensor]:
    """Tokens after a forward, and the gradients of the weights."""
    torch.manual_seed(1)
    offsets = torch.tensor([0, *lengths], device=device).cumsum(0).int()
    x = torch.randn(sum(lengths), 32, device=device, requires_grad=True)
    with torch.autocast(device, dtype, enabled=dtype is not None):
        output = encoder(x, offsets, (2,), offsets[:-1].long() if only_first else None)[2]
    encoder.zero_grad()
    output.square().sum().backward()
    return [output.detach(), *(parameter.grad for parameter in encoder.parameters())]


def check_close(found: list[Tensor], expected: list[Tensor], rtol: float) -> None:
    """Within a share of the largest value of each tensor."""
    for x, y in zip(found, expected, strict=True):
        assert (x - y).abs().max() <= rtol * y.abs().max() + 3e-7


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('only_first', [False, True])
def test_one_graph_for_all_numbers_of_tokens(no_compiler: None, device: str, with_cp: bool, only_first: bool):
    compiled, plain = (make_encoder(device, with_cp=with_cp, compile_blocks=on) for on in (True, False))
    for lengths in BATCHES:
        check_close(train(compiled, lengths, device, only_first), train(plain, lengths, device, only_first), 1e-5)
    assert graphs() == 1 + only_first  # the last block is another where it only computes some tokens


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_one_graph_with_autocast(no_compiler: None, device: str, dtype: torch.dtype):
    compiled, plain = (make_encoder(device, compile_blocks=on) for on in (True, False))
    for lengths in BATCHES:
        check_close(train(compiled, lengths, device, dtype=dtype), train(plain, lengths, device, dtype=dtype), 0.02)
    assert graphs() == 1


def test_dropping_adds_one_graph_and_draws_the_same(no_compiler: None, device: str):
    compiled, plain = (make_encoder(device, compile_blocks=on, drop_path_rate=0.5, with_cp=True) for on in (True, False))
    for lengths in BATCHES:
        check_close(train(compiled, lengths, device), train(plain, lengths, device), 1e-5)
    assert graphs() == 2  # the first block drops nothing


def test_evaluation_has_one_graph(no_compiler: None, device: str):
    compiled, plain = (make_encoder(device, compile_blocks=on, drop_path_rate=0.5).eval() for on in (True, False))
    with torch.no_grad():
        for lengths in BATCHES:
            offsets = torch.tensor([0, *lengths], device=device).cumsum(0).int()
            x = torch.randn(sum(lengths), 32, device=device)
            assert torch.allclose(compiled(x, offsets, (2,))[2], plain(x, offsets, (2,))[2], **NEAR)
    assert graphs() == 1


@pytest.mark.skipif(shutil.which('g++') is None, reason='needs a compiler')
def test_compiled_code_gives_the_same(device: str):
    torch._dynamo.reset()
    counters.clear()
    compiled, plain = (make_encoder(device, with_cp=True, compile_blocks=on) for on in (True, False))
    for lengths in BATCHES:
        check_close(train(compiled, lengths, device), train(plain, lengths, device), 1e-4)
    assert graphs() == 1


def test_attention_on_packed_tokens_has_one_graph():
    found = []

    def note(graph: torch.fx.GraphModule, _: list) -> torch.fx.GraphModule:
        found.append({str(node.target) for node in graph.graph.nodes})
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(block._run, dynamic=True, backend=aot_autograd(fw_compiler=note, bw_compiler=note))
    for total, longest in ((17, 9), (21, 12)):
        attention = PackedAttention(torch.tensor([0, 8, total], dtype=torch.int32), longest)
        inputs = Block(32, 4, 48), torch.randn(total, 32, requires_grad=True), attention, torch.ones(2, total, 1), None
        with pytest.raises(RuntimeError, match='(?i)cuda|cpu'):  # it is traced; only a GPU has kernels to run it
            compiled(*inputs)
    assert len(found) == 2  # forward and backward
    assert all(f'aten._flash_attention_{pass_}.default' in graph for graph, pass_ in zip(found, ('forward', 'backward'), strict=True))
