"""A whole model on two processes has the losses and gradients that one process has on all their images."""

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from two_processes import run_two_processes

pytest.importorskip('mmseg')
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.model import convert_sync_batchnorm  # noqa: E402
from mmengine.structures import PixelData  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason='needs gloo')
RANKS = ((0, 1), (2,))  # images of each process


def make_model() -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(dict(
        type='EncoderDecoder',
        backbone=dict(type='dht_mm.DHTViT', arch=dict(embed_dims=16, num_layers=2, num_heads=2), img_size=32, out_type='tokens',
                      features=dict(gradient=True)),
        decode_head=dict(type='dht_mm.TokenHead', in_channels=16, num_classes=4, loss_image=dict(type='dht_mm.ImageBCELoss'),
                         loss_decode=[dict(type='dht_mm.RegionFocalLoss'), dict(type='dht_mm.RegionCrossEntropyLoss')]),
        train_cfg=dict(), test_cfg=dict(mode='whole'))))
    nn.init.normal_(model.decode_head.conv_seg.weight)
    # The convolutions before the norms have no gradient but rounding; this one tells whether the norms see all images.
    nn.init.constant_(model.backbone.tokenizer.projection.pixel['norm'].weight, 1.5)
    return model.train()


def images(constant: bool) -> Tensor:
    """Noise, blocks of 8 x 8 and a single colour: hundreds, tens and one region; or one colour each."""
    generator = torch.Generator().manual_seed(1)
    blocks = torch.randn(3, 4, 4, generator=generator).repeat_interleave(8, 1).repeat_interleave(8, 2)
    flat = torch.linspace(-1, 1, 3)[:, None, None].expand(3, 32, 32)
    return torch.stack([flat, 2 * flat, 3 * flat] if constant else [torch.randn(3, 32, 32, generator=generator), blocks, flat])


def samples() -> list[SegDataSample]:
    labels = torch.randint(0, 4, (3, 1, 32, 32), generator=torch.Generator().manual_seed(2))
    labels[2, :, :7] = labels[0, :, 3] = 255
    return [SegDataSample(metainfo=dict(img_shape=(32, 32)), gt_sem_seg=PixelData(data=value)) for value in labels]


def loss_of(model: nn.Module, chosen: tuple[int, ...], constant: bool) -> Tensor:
    losses = model(images(constant)[list(chosen)], [samples()[index] for index in chosen], mode='loss')
    return sum(value for name, value in losses.items() if 'loss' in name)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    found = {name: value.grad for name, value in model.named_parameters()}
    return {name: getattr(grad, 'full_tensor', lambda grad=grad: grad)().clone() for name, grad in found.items()}


def replicated(model: nn.Module) -> nn.Module:
    # torch's DDP refuses synchronised norms on the CPU, so they are put in after wrapping.
    return nn.SyncBatchNorm.convert_sync_batchnorm(nn.parallel.DistributedDataParallel(model))


def sharded(model: nn.Module) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    mesh = init_device_mesh('cpu', (2,))
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in (*model.backbone.encoder.blocks, model):
        fully_shard(module, mesh=mesh)
    return model


def work(rank: int, folder: Path) -> None:
    """Two steps of each kind: an image of one region on one process only, then on both."""
    results = {}
    for wrap in (replicated, sharded):
        model = wrap(make_model())
        for constant in (False, True):
            model.zero_grad()
            loss = loss_of(model, RANKS[rank], constant)
            loss.backward()
            results[wrap.__name__, constant] = loss.detach(), gradients(getattr(model, 'module', model))
    torch.save(results, folder / f'{rank}.pt')


def test_two_processes_have_the_losses_and_gradients_of_one(tmp_path: Path):
    run_two_processes(work, tmp_path)
    results = [torch.load(tmp_path / f'{rank}.pt') for rank in range(2)]
    model = make_model()
    for constant in (False, True):
        model.zero_grad()
        loss = loss_of(model, (0, 1, 2), constant)
        loss.backward()
        expected = gradients(model)
        for kind in ('replicated', 'sharded'):
            losses, found = zip(*(result[kind, constant] for result in results), strict=True)
            torch.testing.assert_close(sum(losses) / 2, loss.detach(), rtol=1e-6, atol=1e-6)
            for one, other in zip(*(rank.values() for rank in found), strict=True):
                assert torch.equal(one, other)
            largest = max(value.abs().max() for value in expected.values())
            far = {name: off for name, value in expected.items()
                   if (off := (found[0][name] - value).abs().max()) > 1e-4 * value.abs().max() + 1e-6 * largest}
            assert not far, (kind, constant, largest)


def test_the_toolkits_switch_reaches_the_norms_of_the_tokenizer():
    model = convert_sync_batchnorm(copy.deepcopy(make_model()), 'torch')
    norms = [module for module in model.backbone.tokenizer.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 3 and all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
