"""Two processes that share the work train as one does, with replicated and with sharded weights."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from two_processes import needs_two_gpus, run_two_processes

from dht_mm.encoder import Encoder

STEPS = 2
pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason='needs gloo')


class Model(nn.Module):
    """The encoder with one output, for wrappers that look for tensors in it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = Encoder(16, 2, 2, 24, drop_path_rate=0.3, with_cp=True)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        return self.encoder(x, offsets, (1,))[1]


def batch(rank: int, device: str) -> tuple[Tensor, Tensor]:
    """Ranks have different numbers of tokens."""
    total = 11 + 6 * rank
    x = torch.randn(total, 16, generator=torch.Generator().manual_seed(rank))
    return x.to(device).requires_grad_(), torch.tensor([0, 4, total], dtype=torch.int32, device=device)


def train(model: nn.Module, ranks: tuple[int, ...], device: str) -> Tensor:
    """Some steps on the batches of these ranks, then the output for the first."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        for rank in ranks:
            torch.manual_seed(10 * step + rank)
            (model(*batch(rank, device)).square().mean() / len(ranks)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()(*batch(0, device)).detach().cpu()


def work(rank: int, folder: Path, sharded: bool, device: str) -> None:
    """What each of the two processes does."""
    model = Model().to(device)
    if sharded:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
        mesh = init_device_mesh(device, (2,))
        for module in (*model.encoder.blocks, model):
            fully_shard(module, mesh=mesh)
    else:
        model = nn.parallel.DistributedDataParallel(model)
    output = train(model, (rank,), device)
    if rank == 0:
        torch.save(output, folder / 'output.pt')


@pytest.mark.parametrize('sharded', [False, True])
@pytest.mark.parametrize('kind', ['cpu', pytest.param('cuda', marks=needs_two_gpus)])
def test_two_processes_train_as_one(tmp_path: Path, kind: str, sharded: bool):
    run_two_processes(work, tmp_path, sharded, kind, device=kind)
    assert torch.allclose(torch.load(tmp_path / 'output.pt'), train(Model().to(kind), (0, 1), kind), atol=1e-5)
