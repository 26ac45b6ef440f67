"""The projection with the statistics of the batch: in every backend, on every device, over processes, and as torch's batch norm."""

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import Tensor, nn
from two_processes import run_two_processes

from dht_mm.ops import backend_info, use_backend
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.projection import FeatureProjection

INFO = backend_info()
needs_library = pytest.mark.skipif(not INFO['loaded'], reason=f'needs the compiled operators: {INFO["library"]}')
SHAPES = ((2, 3, 8, 16, 24), (3, 3, 8, 31, 1), (2, 3, 8, 1, 9), (2, 1, 5, 7, 18), (1, 4, 1, 33, 70), (2, 3, 8, 66, 130))
shapes = pytest.mark.parametrize('shape', SHAPES, ids='x'.join(['{0[%d]}' % i for i in range(5)]).format)


def draw(batch: int, in_channels: int, channels: int, height: int, width: int) -> tuple[FeatureProjection, Tensor]:
    """Random weights, and an image that is far from having mean 0 and variance 1."""
    torch.manual_seed(height)
    module = FeatureProjection(in_channels, channels)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 2.0)
            nn.init.normal_(norm.bias)
    return module, 2.0 + 3.0 * torch.randn(batch, in_channels, height, width)


def train_once(module: FeatureProjection, image: Tensor, backend: str) -> list[Tensor]:
    """Features, buffers and gradients of one step of training."""
    module, weight = copy.deepcopy(module), torch.randn(image.shape[2:], generator=torch.Generator().manual_seed(1))
    with use_backend(backend):
        features = module(image)
        (features * weight.to(image.device)).sum().backward()
    return [tensor.detach().cpu() for tensor in (features, *module.buffers(), *(value.grad for value in module.parameters()))]


@needs_library
@shapes
@pytest.mark.parametrize('frozen', ['', 'norm', 'norm1', 'norm2'])
def test_backends_agree(device: str, shape: tuple[int, ...], frozen: str):
    """Features to the bit, running statistics to 1e-6, gradients to 1e-5; also where one of the norms is in evaluation."""
    module, image = draw(*shape)
    for name, norm in module.train().named_modules():
        norm.train(name.rpartition('.')[2] != frozen)
    expected = train_once(module, image, 'torch')
    actual = train_once(module.to(device), image.to(device), 'ext')
    buffers = 1 + len(list(module.buffers()))
    assert torch.equal(actual[0], expected[0])
    for found, wanted in zip(actual[1:buffers], expected[1:buffers], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    # Batch norm cancels the bias of the convolution before it, and its scale: their gradients are small differences of large terms.
    largest = max(grad.abs().max().item() for grad in expected[buffers:])
    for found, wanted in zip(actual[buffers:], expected[buffers:], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=max(1e-5 * wanted.abs().max().item(), 1e-6 * largest))


@pytest.mark.parametrize('backend', ['torch', pytest.param('ext', marks=needs_library)])
@pytest.mark.parametrize('momentum', [0.1, 0.3, None])
def test_running_statistics_are_those_of_torch(backend: str, momentum: float | None):
    module, image = draw(2, 3, 8, 12, 20)
    norm = module.train().pixel['norm']
    stock = nn.BatchNorm2d(8, momentum=momentum)
    norm.momentum = momentum
    for scale in (1.0, 0.5, 2.0):
        with use_backend(backend):
            module(scale * image)
        stock(module.pixel['conv'](scale * image))
    for name, value in stock.named_buffers():
        torch.testing.assert_close(norm.get_buffer(name), value, rtol=1e-6, atol=1e-6)


@needs_library
def test_repetition_and_threads_change_no_bit(device: str):
    module, image = draw(3, 3, 8, 45, 62)
    module, image, seen, before = module.train().to(device), image.to(device), set(), torch.get_num_threads()
    try:
        for run in range(20):
            torch.set_num_threads(1 + run % 3)
            seen.add(tuple(tensor.numpy().tobytes() for tensor in train_once(module, image, 'ext')))
    finally:
        torch.set_num_threads(before)
    assert len(seen) == 1


@pytest.mark.parametrize('options', [dict(), dict(capacity=300), dict(capacity=300, token_budget=dict(mode='hard', train=5))])
@pytest.mark.parametrize('backend', ['torch', pytest.param('ext', marks=needs_library)])
def test_training_tokenizer_compiles_to_one_graph(device: str, backend: str, options: dict):
    torch._dynamo.reset()  # graphs of other tests in this process count towards the limit
    torch.manual_seed(0)
    tokenizer, image = DHTTokenizer(**options).train().to(device), torch.randn(2, 3, 16, 20, device=device)
    expected = copy.deepcopy(tokenizer)
    with use_backend(backend):
        compiled = torch.compile(tokenizer, fullgraph=True, backend='aot_eager')
        first, second = compiled(image), expected(image)
        first.color.square().sum().backward()
        second.color.square().sum().backward()
    assert torch.equal(first.labels, second.labels) and torch.equal(first.mean, second.mean)
    for found, wanted in zip(tokenizer.buffers(), expected.buffers(), strict=True):
        assert torch.equal(found, wanted)
    for found, wanted in zip(tokenizer.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-5, atol=1e-6)


def test_one_value_a_channel_is_refused():
    module = FeatureProjection(3, 8).train()
    for size in ((1, 1), (4, 3)):
        with pytest.raises(ValueError, match='more than one value per channel'):
            module(torch.zeros(1, 3, *size))
    assert module(torch.randn(2, 3, 1, 1)).shape == (2, 8, 1, 1)
    assert FeatureProjection(3, 8).eval()(torch.zeros(1, 3, 1, 1)).isfinite().all()


def _step(rank: int, folder: Path, image: Tensor, module: FeatureProjection) -> None:
    # Tensors that are sent to a process share their memory.
    image, module = image.chunk(2)[rank].clone().requires_grad_(), copy.deepcopy(module)
    module(image).square().sum().backward()
    # Data-parallel training adds the gradients of parameters; those to the images are whole.
    for value in module.parameters():
        torch.distributed.all_reduce(value.grad)
    tensors = [image.grad, *module.buffers(), *(value.grad for value in module.parameters())]
    torch.save([tensor.detach() for tensor in tensors], folder / f'{rank}.pt')


def test_synchronised_norms_see_the_batch_of_all_processes(tmp_path: Path):
    module, image = draw(4, 3, 8, 9, 13)
    module = nn.SyncBatchNorm.convert_sync_batchnorm(module.double().train())
    image = image.double()
    run_two_processes(_step, tmp_path, image, module)

    alone, whole = copy.deepcopy(module), image.clone().requires_grad_()
    alone(whole).square().sum().backward()
    expected = [*alone.buffers(), *(value.grad for value in alone.parameters())]
    for rank in range(2):
        actual = torch.load(tmp_path / f'{rank}.pt')
        torch.testing.assert_close(actual[0], whole.grad.chunk(2)[rank], rtol=1e-6, atol=1e-8)
        for one, other in zip(actual[1:], expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
