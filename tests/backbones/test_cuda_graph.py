"""A backbone replayed as CUDA graphs is the same backbone."""

import copy
from contextlib import nullcontext

import pytest
import torch
from fixed_rows import FixedRows
from no_waiting import no_waiting
from test_dht_vit import WINDOW, draw_images, make_model
from torch import Tensor, nn

from dht_mm.backbones import DHTViT
from dht_mm.encoder import block
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
OUT_TYPES = ('raw', 'cls_token', 'featmap', 'tokens')


class Blobs(nn.Module):
    """In the place of a tokenizer: two regions an image, of its bright and its dark rows, with a colour that is learned.

    Attributes:
        capacity: Rows, of which half are spare.
    """

    capacity = 16

    def __init__(self):
        super().__init__()
        self.color = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, images: Tensor) -> Partition:
        """What a tokenizer of fixed capacity gives; no value is looked at by the host."""
        batch, _, height, width = images.shape
        rows = images.mean((1, 3)).argmax(1).clamp(1, height - 1)  # the cut is where each image says
        labels = (torch.arange(height, device=images.device) >= rows[:, None])[:, :, None].expand(-1, -1, width).int()
        upper = torch.stack([torch.zeros_like(rows), torch.zeros_like(rows), rows - 1, torch.full_like(rows, width - 1)], 1)
        lower = torch.stack([rows, torch.zeros_like(rows), torch.full_like(rows, height - 1), torch.full_like(rows, width - 1)], 1)
        size = torch.stack([rows * width, (height - rows) * width], 1).flatten()
        weight = (labels[:, None] == torch.arange(2, device=images.device)[:, None, None]).float()
        mean = (torch.einsum('bchw,brhw->brc', images.float(), weight) / size.view(batch, 2, 1)).flatten(0, 1)
        mean = self.norm(mean)
        spare = self.capacity - 2 * batch
        bbox, size, mean, color = (torch.cat([x, x.new_zeros(spare, *x.shape[1:])]) for x in (
            torch.stack([upper, lower], 1).flatten(0, 1).int(), size.int(), mean, self.color(mean)))
        offsets = torch.arange(0, 2 * batch + 1, 2, dtype=torch.int32, device=images.device)
        return Partition(labels, offsets.diff(), offsets, bbox, size, mean, color, 2)


class Head(nn.Module):
    """A backbone and a linear map of all its floats."""

    def __init__(self, **options):
        super().__init__()
        self.backbone = make_model(**options)
        self.head = nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Mean of all that the map gives."""
        outputs = self.backbone(images)
        outputs = [*outputs.tokens, *outputs.cls_tokens] if hasattr(outputs, 'partition') else outputs
        return sum(self.head(x.movedim(1, -1) if x.dim() == 4 else x).square().mean() for x in outputs)


def make_pair(**options) -> tuple[Head, Head]:
    """Two equal models on the GPU, the second with graphs."""
    options = dict(tokenizer=Blobs(), features=dict(gradient=True), drop_path_rate=0.3) | options
    models = [Head(**copy.deepcopy(options), cuda_graph=on).cuda().train() for on in (False, True)]
    models[1].load_state_dict(models[0].state_dict())
    return tuple(models)


def steps(model: Head, batches: list[Tensor], dtype: torch.dtype | None = None, accumulate: int = 1) -> list[Tensor]:
    """Losses of training steps with the usual loop, the last gradients, and all that the model holds at the end."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, 0.9)
    losses = []
    for index, images in enumerate(batches):
        with torch.autocast('cuda', dtype, enabled=dtype is not None):
            losses.append(model(images))
        losses[-1].backward()
        if (index + 1) % accumulate == 0:
            grads = [x.grad.clone() for x in model.parameters()]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return [*losses, *grads, *model.state_dict().values()]


def check_equal(found: list[Tensor], expected: list[Tensor], rtol: float = 1e-5) -> None:
    """Within a share of the largest value of each tensor."""
    for index, (x, y) in enumerate(zip(found, expected, strict=True)):
        x, y = x.detach().double(), y.detach().double()
        assert (x - y).abs().max() <= rtol * y.abs().max() + 1e-7, index


def batches_of(count: int, size: tuple[int, ...] = (4, 24, 20)) -> list[Tensor]:
    return [(draw_images(*size) + 0.1 * index * torch.randn(size[0], 3, 1, 1)).cuda() for index in range(count)]


@needs_gpu
@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
@pytest.mark.parametrize('out_type', OUT_TYPES)
def test_fixed_rows_need_no_waiting_and_spare_ones_change_nothing(out_type: str, dtype: torch.dtype | None):
    model, images = make_pair(out_type=out_type, drop_path_rate=0.0)[0], batches_of(1)[0]
    results = []
    for spare in (0, 2, 100):
        model.backbone.tokenizer.capacity = 2 * len(images) + spare
        for waiting in (nullcontext, no_waiting):  # the first time, torch may look at the device
            model.zero_grad()
            with waiting(), torch.autocast('cuda', dtype, enabled=dtype is not None):
                loss = model(images)
                loss.backward()
        if out_type == 'tokens':  # the mean of this loss is over all rows
            continue
        results.append([loss, *(x.grad for x in model.parameters())])
    for found in results[1:]:
        check_equal(found, results[0], 1e-4 if dtype is None else 0.05)


@needs_gpu
@pytest.mark.parametrize('dtype, rtol', [(None, 1e-4), (torch.bfloat16, 2e-2), (torch.float16, 2e-2)])
@pytest.mark.parametrize('out_type', OUT_TYPES)
def test_five_steps_are_those_without_graphs(out_type: str, dtype: torch.dtype | None, rtol: float):
    models, batches = make_pair(out_type=out_type), batches_of(5)
    expected, found = (steps(model, batches, dtype) for model in models)
    check_equal(found[:5], expected[:5], rtol)  # the draws of stochastic depth and the running statistics are the same too
    check_equal(found[5:], expected[5:], 10 * rtol)
    assert len(models[1].backbone._graphs._graphs) == 1


@needs_gpu
def test_two_shapes_and_evaluation_in_between():
    batches = [x for pair in zip(batches_of(3), batches_of(3, (2, 16, 28)), strict=True) for x in pair]
    results = []
    for model in make_pair():
        losses = []
        for images in batches:
            losses += steps(model.train(), [images])
            model.eval()
            with torch.no_grad():
                losses.append(model(images))
            with torch.inference_mode():
                losses.append(model(images).clone())
        results.append(losses)
        graphs = model.backbone._graphs
    check_equal(*reversed(results), 1e-3)
    assert len(graphs._graphs) == 6


@needs_gpu
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_evaluation_in_half_precision_follows_the_weights(dtype: torch.dtype):
    expected, found = make_pair(out_type='featmap', drop_path_rate=0.0)
    for images in batches_of(3):
        with torch.no_grad(), torch.autocast('cuda', dtype):
            check_equal([found.eval()(images)], [expected.eval()(images)], 1e-4)
            for model in (expected, found):
                for index, parameter in enumerate(model.backbone.encoder.parameters()):
                    parameter.mul_(0.9 + 0.01 * (index % 20))
    assert len(found.backbone._graphs._graphs) == 1


@needs_gpu
@pytest.mark.parametrize('set_to_none', [True, False])
def test_gradients_add_up_over_steps(set_to_none: bool):
    models, batches = make_pair(drop_path_rate=0.0), batches_of(3)
    for model in models:
        model.zero_grad()
        for images in batches[:2]:
            model(images).backward()
        model.backbone.zero_grad(set_to_none)
        for images in batches:
            model(images).backward()
    check_equal([x.grad for x in models[1].parameters()], [x.grad for x in models[0].parameters()], 1e-4)
    check_equal(steps(models[1], batches, accumulate=3), steps(models[0], batches, accumulate=3), 1e-3)


@needs_gpu
def test_nothing_waits_and_outputs_are_new_ones():
    model, (images, other) = make_pair(out_type='tokens')[1], batches_of(2)
    steps(model, [images])
    first = model.backbone(images)
    kept = [first.tokens[0].detach().clone(), first.partition.labels.clone()]
    with no_waiting():
        model(other).backward()
    assert torch.equal(first.tokens[0], kept[0]) and torch.equal(first.partition.labels, kept[1])


@needs_gpu
def test_recording_leaves_no_trace():
    model, images = make_pair()[1], batches_of(1)[0]
    torch.manual_seed(5)
    expected = torch.rand(3, device='cuda')
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    torch.manual_seed(5)
    model.eval()
    with torch.no_grad():
        model(images)
    assert torch.equal(torch.rand(3, device='cuda'), expected)
    model.train()(images)
    assert all(x.grad is None for x in model.parameters())
    assert int(model.backbone.tokenizer.norm.num_batches_tracked) == 1
    model.load_state_dict(buffers, strict=False)
    model(images)
    assert int(model.backbone.tokenizer.norm.num_batches_tracked) == 1


@needs_gpu
def test_a_backward_out_of_order_is_refused():
    model, images = make_pair()[1], batches_of(1)[0]
    first, second = model(images), model(images)
    second.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match='must follow its forward, once'):
        first.backward()
    with pytest.raises(RuntimeError, match='must follow its forward, once'):
        second.backward()


@needs_gpu
def test_weights_may_move_and_the_model_may_be_copied():
    models, batches = make_pair(drop_path_rate=0.0), batches_of(2)
    for model in models:
        steps(model, batches)
        model.backbone.load_state_dict({key: value.clone() for key, value in model.backbone.state_dict().items()}, assign=True)
        for parameter in model.backbone.encoder.blocks[0].parameters():
            parameter.requires_grad_(False)
    found, expected = (copy.deepcopy(model) for model in reversed(models))
    for model in (found, expected):
        assert not model(batches[0]).isnan()
    assert len(found.backbone._graphs._graphs) == 1
    check_equal([found(batches[1])], [expected(batches[1])], 1e-3)


@needs_gpu
def test_it_goes_with_compiled_blocks_and_a_scaler(monkeypatch):
    compiled = torch.compile(block._run, dynamic=True, backend='aot_eager')  # quicker, and needs no compiler
    monkeypatch.setattr(block, '_compiled_run', lambda: compiled)
    models, images = make_pair(compile_blocks=True, drop_path_rate=0.0), batches_of(1)[0]
    results = []
    for model in models:
        scaler, optimizer = torch.amp.GradScaler('cuda', 128.0), torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(3):
            with torch.autocast('cuda', torch.float16):
                loss = model(images)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        results.append([loss, *model.parameters()])
    check_equal(results[1], results[0], 2e-2)


@needs_gpu
@pytest.mark.parametrize('budget', [None, dict(mode='hard', train=30, test=30)])
@pytest.mark.parametrize('features', [{}, WINDOW], ids=['box', 'window'])
def test_the_tokenizer_of_the_paper(budget: dict | None, features: dict):
    tokenizer = DHTTokenizer(compactness=0.01, capacity=2000, token_budget=budget)
    models = make_pair(tokenizer=tokenizer, out_type='featmap', features=features)
    batches = batches_of(3, (2, 64, 48))
    check_equal(steps(models[1], batches), steps(models[0], batches), 1e-3)
    for model in models:
        model.eval()
    with torch.no_grad():
        for images in batches:
            check_equal([models[1](images)], [models[0](images)], 1e-3)


def test_on_a_cpu_it_changes_nothing(device: str):
    if device != 'cpu':
        pytest.skip('is about the CPU')
    images = draw_images(4)
    models = [Head(tokenizer=Blobs(), cuda_graph=on).train() for on in (False, True)]
    models[1].load_state_dict(models[0].state_dict())
    losses = [model(images) for model in models]
    for loss in losses:
        loss.backward()
    assert torch.equal(*losses) and not models[1].backbone._graphs._graphs
    check_equal([x.grad for x in models[1].parameters()], [x.grad for x in models[0].parameters()], 0)
    assert copy.deepcopy(models[1]).backbone._graphs is not models[1].backbone._graphs


def test_it_needs_a_fixed_capacity():
    with pytest.raises(ValueError, match='cuda_graph must be False with a tokenizer that has no fixed capacity'):
        DHTViT(cuda_graph=True)
    with pytest.raises(ValueError, match='cuda_graph must be False with with_cp=True'):
        make_model(tokenizer=Blobs(), cuda_graph=True, with_cp=True)
    assert make_model(tokenizer=DHTTokenizer(capacity=10), cuda_graph=True)._graphs is not None
    assert make_model(tokenizer=FixedRows(DHTTokenizer(), 10, 5))._graphs is None
