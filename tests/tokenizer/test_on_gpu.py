"""What only a GPU can get wrong: waiting for it, other streams, batches of more than 2^31 bytes, and the order of its threads."""

import pytest
import torch
from no_waiting import no_waiting
from torch import Tensor

from dht_mm.embedding import RegionEmbedding
from dht_mm.features import RegionFeatures
from dht_mm.ops import backend_info, build_hierarchy
from dht_mm.tokenizer import DHTTokenizer, mean_shift

pytestmark = pytest.mark.skipif(not torch.cuda.is_available() or backend_info()['cuda'] != 'ext',
                                reason='needs a GPU and the compiled CUDA kernels')


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Images with blobs in them."""
    generator = torch.Generator().manual_seed(seed)
    batch, channels, height, width = shape
    coarse = torch.randn(batch, channels, height // 6 + 1, width // 6 + 1, generator=generator)
    blobs = coarse.repeat_interleave(6, 2).repeat_interleave(6, 3)[:, :, :height, :width]
    return (blobs + 0.1 * torch.randn(shape, generator=generator)).cuda()


class Front(torch.nn.Module):
    """Everything in front of a transformer's blocks."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.tokenizer = DHTTokenizer(compactness=0.01, **options).train()
        self.features = RegionFeatures(3, 8, 4, gradient=True)
        self.embedding = RegionEmbedding(self.features.dims, 32)
        self.cuda()

    def step(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Tokens of images and the gradients of a sum over them."""
        self.zero_grad()
        partition = self.tokenizer(images)
        tokens = self.embedding(self.features(images, partition, mean_shift(images, partition)), partition)
        tokens.square().sum().backward()
        return tokens.detach(), [parameter.grad for parameter in self.parameters() if parameter.grad is not None]


@pytest.mark.parametrize('options', [dict(), dict(norm_eval=True)])
def test_a_training_step_waits_only_where_regions_are_counted(options: dict):
    images = draw(2, 3, 40, 56)
    front = Front(**options)
    front.step(images)
    with no_waiting():
        front.step(images)


@pytest.mark.parametrize('budget', [None, dict(mode='hard', test=20), dict(mode='hard', test=20, spread=0.1)])
def test_a_tokenizer_of_fixed_capacity_never_waits(budget: dict | None):
    images = draw(2, 3, 40, 56)
    tokenizer = DHTTokenizer(compactness=0.01, capacity=1000, token_budget=budget).cuda().eval()
    with torch.inference_mode(), no_waiting():
        partition = tokenizer(images)
    tokenizer.capacity = None
    with torch.inference_mode():
        expected = tokenizer(images)
    count = expected.total_regions
    assert torch.equal(partition.offsets, expected.offsets) and torch.equal(partition.color[:count], expected.color)


@pytest.mark.parametrize('options', [dict(norm_eval=True), dict(), dict(token_budget=dict(mode='hard', train=40, spread=0.1))])
def test_twenty_runs_give_the_same_bits(options: dict):
    images = draw(4, 3, 96, 120)
    results = {(bytes(tokens.cpu().numpy()), *(bytes(grad.cpu().numpy()) for grad in grads))
               for tokens, grads in (Front(**options).step(images) for _ in range(20))}
    assert len(results) == 1


def test_works_on_another_stream():
    images = draw(2, 3, 48, 40)
    expected, stream, front = Front().step(images), torch.cuda.Stream(), Front()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)  # work on the default stream would overtake this
        copy = images.clone()
        actual = front.step(copy)
    stream.synchronize()
    assert torch.equal(actual[0], expected[0])
    assert all(torch.equal(found, reference) for found, reference in zip(actual[1], expected[1], strict=True))


def test_batch_of_more_than_2_to_31_bytes_of_features():
    image = draw(1, 3, 1024, 1024)
    tokenizer = DHTTokenizer(compactness=0.01).cuda().eval()
    batch = image.repeat(66, 1, 1, 1)
    batch[1] = draw(1, 3, 1024, 1024, seed=1)[0]
    with torch.inference_mode():
        alone, among = tokenizer(image), tokenizer(batch)
    assert batch[:, :1].numel() * 8 * 4 > 2**31
    last = slice(int(among.offsets[-2]), int(among.offsets[-1]))
    assert torch.equal(among.labels[-1:], alone.labels)
    for name in ('bbox', 'size', 'mean', 'color'):
        assert torch.equal(getattr(among, name)[last], getattr(alone, name)), name


def test_too_many_pixels_for_32_bits_are_refused():
    features = torch.empty(1, 1, 2**15, 2**14, device='cuda')
    with pytest.raises(RuntimeError, match='fewer than 2\\^29 pixels in a batch, got 1 images of 32768 x 16384'):
        build_hierarchy(features, torch.zeros(1, device='cuda'), torch.zeros((), device='cuda'))
