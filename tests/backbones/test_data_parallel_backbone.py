"""A backbone with its tokenizer on two processes has the losses and gradients that one process has on all their images.

On the CPU by gloo, and by NCCL where there are two GPUs. Neither a toolkit nor compiled code of one is needed.
"""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from two_processes import run_two_processes

pytest.importorskip('mmengine')
from dht_mm.backbones import DHTViT  # noqa: E402
from dht_mm.losses import RegionCrossEntropyLoss, reconstruction_loss  # noqa: E402

CLASSES = 4
# Sizes of the images of each process, and whether norms are fixed: norms over all images, or images of other sizes on each process.
CASES = ((((32, 32), (32, 32)), False), (((36, 20), (24, 40)), True))
pytestmark = pytest.mark.skipif(not dist.is_available(), reason='needs torch.distributed')


@pytest.fixture
def device(device: str) -> str:
    """A device that two processes can share, or of which there are two."""
    if device == 'cuda' and torch.cuda.device_count() < 2:
        pytest.skip('needs two GPUs')
    return device


class Model(nn.Module):
    """The loss of a small backbone whose regions are classified; the tokenizer learns from it, and from rebuilding the image."""

    def __init__(self, norm_eval: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = DHTViT(arch=dict(embed_dims=16, num_layers=2, num_heads=2), img_size=32, out_type='tokens',
                               features=dict(gradient=True), tokenizer=dict(type='DHTTokenizer', norm_eval=norm_eval))
        self.classify = nn.Linear(16, CLASSES)
        self.loss = RegionCrossEntropyLoss()
        # The convolutions before the norms have no gradient but rounding; this one tells whether the norms see all images.
        nn.init.constant_(self.backbone.tokenizer.projection.pixel['norm'].weight, 1.5)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        found = self.backbone(images)
        return self.loss(self.classify(found.tokens[-1]), labels, found.partition) + reconstruction_loss(images, found.partition)


def noise(*size: int) -> Tensor:
    return torch.randn(3, *size, generator=torch.Generator().manual_seed(1))


def batches(sizes: tuple[tuple[int, int], tuple[int, int]]) -> list[Tensor]:
    """Of each process: one image of noise, with hundreds of regions and many levels; one of blocks and one of a single colour."""
    blocks = noise(4, 4).repeat_interleave(sizes[1][0] // 4, 1).repeat_interleave(sizes[1][1] // 4, 2)
    return [noise(*sizes[0])[None], torch.stack([blocks, torch.full_like(blocks, 0.3)])]


def labels_of(images: Tensor) -> Tensor:
    """``[B, H, W]`` classes, by the first channel."""
    return torch.bucketize(images[:, 0], images.new_tensor([-0.5, 0.0, 0.5]))


def trained(model: nn.Module, device: str, *parts: Tensor) -> dict[str, Tensor]:
    """Loss, buffers and gradients of a step on batches, of which each counts by its pixels."""
    counts = [labels_of(images).numel() for images in parts]
    total = sum(model(images.to(device), labels_of(images).to(device)) * count / sum(counts)
                for images, count in zip(parts, counts, strict=True))
    total.backward()
    model = getattr(model, 'module', model)
    grads = {name: value.grad for name, value in model.named_parameters()}
    return {name: value.detach().cpu() for name, value in (grads | dict(model.named_buffers(), loss=total)).items()}


def work(rank: int, folder: Path, device: str) -> None:
    """A step of one process on its images, in each case."""
    for number, (sizes, norm_eval) in enumerate(CASES):
        model = Model(norm_eval).to(device).train()
        if device == 'cuda':
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        model = nn.parallel.DistributedDataParallel(model, device_ids=[rank] if device == 'cuda' else None, broadcast_buffers=False)
        if device == 'cpu':  # torch's DDP refuses synchronised norms there, so they are put in after wrapping
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        torch.save(trained(model, device, batches(sizes)[rank]), folder / f'{number}-{rank}.pt')


def test_two_processes_have_the_losses_and_gradients_of_one(tmp_path: Path, device: str):
    run_two_processes(work, tmp_path, device, device=device)
    for number, (sizes, norm_eval) in enumerate(CASES):
        first, second = (torch.load(tmp_path / f'{number}-{rank}.pt') for rank in range(2))
        parts = batches(sizes) if norm_eval else [torch.cat(batches(sizes))]
        expected = trained(Model(norm_eval).to(device).train(), device, *parts)
        torch.testing.assert_close((first.pop('loss') + second.pop('loss')) / 2, expected.pop('loss'), rtol=1e-5, atol=1e-6)
        largest = max(value.abs().max() for value in expected.values())
        for name, value in expected.items():
            assert torch.equal(first[name], second[name]), (number, name)
            assert (first[name] - value).abs().max() <= 1e-4 * value.abs().max() + 1e-5 * largest, (number, name)
