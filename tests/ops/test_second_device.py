"""Tensors on a GPU that is not the current one give there the bits that they give on the current one."""

import pytest
import torch
from region_cases import Case, Run, bits, each_run, results
from torch import Tensor
from two_processes import needs_two_gpus

from dht_mm.embedding import RegionEmbedding
from dht_mm.encoder import Encoder
from dht_mm.features import RegionFeatures
from dht_mm.ops import exact_linear, pool_cells, region_mean
from dht_mm.tokenizer import DHTTokenizer, mean_shift

FIRST, SECOND = 'cuda:0', 'cuda:1'
pytestmark = needs_two_gpus


@pytest.fixture(autouse=True)
def first_stays_current():
    """The first GPU is the current one before and after."""
    torch.cuda.set_device(FIRST)
    yield
    assert torch.cuda.current_device() == 0
    torch.cuda.synchronize(SECOND)


def images() -> Tensor:
    """Blobs under noise, and an image of one colour."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(3, 3, 7, 6, generator=generator).repeat_interleave(6, 2).repeat_interleave(6, 3)
    image = coarse + 0.1 * torch.randn(coarse.shape, generator=generator)
    image[2] = 0.25
    return image


def same(second: list[Tensor], first: list[Tensor]) -> None:
    """All of them lie on the second GPU and hold the bits of the first."""
    assert all(str(tensor.device) == SECOND for tensor in second)
    assert bits(second) == bits(first)


@each_run
def test_ops_on_regions(run: Run):
    case = Case.draw()
    same(*(results(run, case.to(device)) for device in (SECOND, FIRST)))


def test_exact_linear():
    generator = torch.Generator().manual_seed(0)
    rows, weight, bias = (torch.randn(shape, generator=generator) for shape in ((9, 5), (7, 5), (7,)))
    same(*([exact_linear(*(value.to(device) for value in (rows, weight, bias)))] for device in (SECOND, FIRST)))


TARGET = dict(train=9, test=9)
HARD = dict(mode='hard', **TARGET)
OPTIONS = (dict(), dict(norm_eval=True), dict(token_budget=dict(mode='soft', **TARGET)), dict(token_budget=dict(mode='exact', **TARGET)),
           dict(token_budget=HARD), dict(capacity=6000), dict(capacity=6000, token_budget=HARD))


def train(device: str, options: dict) -> list[Tensor]:
    """A step from images to cells of a feature map, in training and with gradients, and a partition in evaluation."""
    torch.manual_seed(0)
    tokenizer = DHTTokenizer(compactness=0.01, **options)
    features = RegionFeatures(3, 8, 4, gradient=True)
    embedding = RegionEmbedding(features.dims, 16)
    model = torch.nn.ModuleList([tokenizer, features, embedding]).to(device).train()
    image = images().to(device).requires_grad_()
    partition = tokenizer(image)
    tokens = embedding(features(image, partition, mean_shift(image, partition)), partition)
    cells = pool_cells(tokens[:partition.total_regions], partition.labels, partition.offsets, 4)
    (tokens.square().sum() + cells.square().sum()).backward()
    with torch.no_grad():
        evaluated = tokenizer.eval()(image.detach())
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    count = int(evaluated.offsets[-1])
    rows = [rows[:count] for rows in (evaluated.bbox, evaluated.size, evaluated.mean, evaluated.color)]
    return [partition.labels, partition.offsets, image.grad, *grads, evaluated.labels, *rows]


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_a_step_of_the_tokenizer(options: dict):
    second, first = (train(device, options) for device in (SECOND, FIRST))
    assert all(str(tensor.device) == SECOND for tensor in second)
    for actual, expected in zip(second, first, strict=True):
        if actual.is_floating_point():
            torch.testing.assert_close(actual.cpu(), expected.cpu(), rtol=1e-5, atol=1e-5 * expected.abs().max().item())
        else:
            assert torch.equal(actual.cpu(), expected.cpu())


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_encoder(dtype: torch.dtype):
    torch.manual_seed(0)
    encoder = Encoder(64, 2, 1, 128)
    tokens, offsets = torch.randn(40, 64), torch.tensor([0, 11, 13, 40], dtype=torch.int32)
    outputs = []
    for device in (SECOND, FIRST):
        with torch.autocast('cuda', dtype, enabled=dtype != torch.float32):
            outputs.append(encoder.to(device)(tokens.to(device), offsets.to(device), (1,))[1])
    assert str(outputs[0].device) == SECOND
    torch.testing.assert_close(outputs[0].cpu(), outputs[1].cpu())


def test_tensors_of_two_gpus_are_refused():
    case = Case.draw().to(FIRST)
    with pytest.raises(ValueError, match=SECOND):
        region_mean(case.image, case.partition.labels.to(SECOND), case.partition.offsets, case.partition.size)
