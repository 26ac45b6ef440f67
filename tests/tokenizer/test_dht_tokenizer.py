"""The tokenizer on images of every size and content: valid partitions, gradients, modes, layouts, and what is refused."""

import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from partition_checks import check_partition, fields_of, same_bits
from torch import Tensor, nn

from dht_mm.registry import MODELS
from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer, TokenBudget

KERNELS = ('gaussian', 'cosine', 'tanimoto')
CRITERIA = ('aic', 'aicc', 'bic', 'cic')


@cache
def tokenizer(in_channels: int = 3, **options) -> DHTTokenizer:
    """A tokenizer in evaluation whose random weights separate colours, with running statistics of its own."""
    torch.manual_seed(in_channels)
    model = DHTTokenizer(in_channels, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.1, 1.0)
    return model.eval()


def draw_image(seed: int, channels: int, height: int, width: int, content: str) -> Tensor:
    """``[C, H, W]`` of one colour, of noise, of flat patches, of patches with noise on them, or of a ramp."""
    random = torch.Generator().manual_seed(seed)
    if content == 'colour':
        return torch.randn(channels, 1, 1, generator=random).expand(-1, height, width)
    if content == 'ramp':
        return torch.linspace(-2, 2, height * width).view(1, height, width).expand(channels, -1, -1)
    noise = torch.randn(channels, height, width, generator=random)
    if content == 'noise':
        return noise
    patches = torch.randn(channels, 1 + height // 8, 1 + width // 8, generator=random)
    flat = patches.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :height, :width]
    return flat if content == 'patches' else flat + 0.1 * noise


SIDES = st.integers(1, 67)
CONTENTS = st.sampled_from(['colour', 'noise', 'patches', 'noisy patches', 'ramp'])
BUDGETS = st.one_of(st.none(), st.builds(dict, mode=st.sampled_from(['soft', 'hard', 'exact']), test=st.integers(1, 40)))


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.data(), SIDES, SIDES, st.lists(CONTENTS, min_size=1, max_size=3), st.sampled_from([1, 3, 6]), BUDGETS)
def test_partition_is_valid(data, height: int, width: int, contents: list[str], channels: int, budget: dict | None):
    options = dict(kernel=data.draw(st.sampled_from(KERNELS)), criterion=data.draw(st.sampled_from(CRITERIA)),
                   compactness=data.draw(st.sampled_from([0.0, 0.01, 0.1, 0.5])))
    model = tokenizer(channels, **options)
    model.token_budget = None if budget is None else TokenBudget(**budget)
    images = torch.stack([draw_image(i, channels, height, width, content) for i, content in enumerate(contents)])
    with torch.no_grad():
        partition = model(images)
    check_partition(partition, images, 8)
    if budget is not None and budget['mode'] != 'soft':
        assert partition.num_regions.max() <= budget['test']


@pytest.mark.parametrize('width', [1, 2, 3, 4, 65, 66, 67])
@pytest.mark.parametrize('height', [1, 2, 3, 4, 5, 6, 7, 64])
def test_every_size_modulo_four(height: int, width: int):
    images = torch.stack([draw_image(i, 3, height, width, content) for i, content in enumerate(('noisy patches', 'noise'))])
    with torch.no_grad():
        partition = tokenizer()(images)
    check_partition(partition, images, 8)


def test_one_colour_is_one_region():
    images = draw_image(0, 3, 33, 21, 'colour')[None]
    assert tokenizer()(images).num_regions.tolist() == [1]


def test_two_pixels_are_one_region_or_two():
    images = torch.tensor([[[[0.0, 0.0]]], [[[-3.0, 3.0]]]]).expand(2, 3, 1, 2) * 100
    partition = tokenizer(criterion='aic', iota=0.01)(images)
    check_partition(partition, images, 8)
    assert partition.num_regions.tolist() == [1, 2]


def test_colours_of_a_flat_mosaic_are_found_exactly(published: dict[str, Tensor]):
    """Squares of far colours, larger than the coarse branch can blur: regions follow them pixel by pixel."""
    model = DHTTokenizer(compactness=0.01).eval()
    model.load_state_dict(published)
    colors = torch.tensor([[-2.0, -2.0, -2.0], [2.2, 2.4, 2.6], [2.2, -2.0, -1.8], [-2.1, 0.5, 2.6]])
    squares = torch.arange(4).view(2, 2).repeat_interleave(32, 0).repeat_interleave(32, 1)
    images = colors[squares].movedim(-1, 0)[None]
    partition = model(images)
    for label in range(int(partition.num_regions)):
        assert len(squares[partition.labels[0] == label].unique()) == 1, 'a region reaches across a border'


def parameters_with_gradient(model: nn.Module) -> dict[str, bool]:
    return {name: value.grad is not None and bool(value.grad.isfinite().all()) for name, value in model.named_parameters()}


@pytest.mark.parametrize('budget', [None, dict(mode='soft', train=3), dict(mode='hard', train=3), dict(mode='exact', train=3)])
@pytest.mark.parametrize('content', ['noisy patches', 'colour', 'noise'])
def test_every_parameter_gets_a_finite_gradient(content: str, budget: dict | None):
    torch.manual_seed(0)
    model = DHTTokenizer(token_budget=budget).train()
    images = torch.stack([draw_image(i, 3, 16, 20, content) for i in range(2)])
    (model(images).color ** 2).sum().backward()
    assert all(parameters_with_gradient(model).values()), parameters_with_gradient(model)


def test_gradients_of_a_photo_reach_every_weight(published: dict[str, Tensor], golden):
    """With the published weights none is idle: the self edge too moves the colours."""
    model = DHTTokenizer(norm_eval=True).train()
    model.load_state_dict(published)
    image = golden('bench_96x160_aicc_cmp0.01').image[..., :64, :64]
    ((model(image).color) ** 2).sum().backward()
    idle = [name for name, value in model.named_parameters() if not value.grad.any()]
    assert not idle, idle


@pytest.mark.parametrize('kernel', KERNELS)
def test_far_apart_colours_without_compactness_have_finite_gradients(kernel: str):
    model = tokenizer(kernel=kernel, compactness=0.0)
    board = ((torch.arange(12)[:, None] + torch.arange(12)) % 2 * 2.0 - 1.0) * 1e4
    images = board.expand(2, 3, 12, 12)
    model.zero_grad()
    partition = model(images)
    check_partition(partition, images, 8)
    partition.color.mean().backward()
    assert all(parameters_with_gradient(model).values())


def test_gradient_reaches_the_image():
    images = torch.stack([draw_image(0, 3, 13, 9, 'noise')]).requires_grad_()
    tokenizer().zero_grad()
    tokenizer()(images).color.sum().backward()
    assert images.grad.isfinite().all() and images.grad.any()


def test_batch_norm_learns_in_training_only():
    images = torch.stack([draw_image(i, 3, 12, 12, 'noise') for i in range(2)])
    model = DHTTokenizer()
    before = {name: value.clone() for name, value in model.named_buffers()}

    def changed() -> list[str]:
        return [name for name, value in model.named_buffers() if not torch.equal(value, before[name])]

    model.eval()(images)
    assert not changed()
    model.train()(images)
    assert len(changed()) == len(before) == 9


def test_norm_eval_keeps_statistics_and_gives_the_partition_of_evaluation():
    images = torch.stack([draw_image(i, 3, 12, 12, 'noise') for i in range(2)])
    model = DHTTokenizer(norm_eval=True).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    trained = model(images)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    evaluated = model.eval()(images)
    assert all(same_bits(fields_of(trained, image), fields_of(evaluated, image)) for image in range(2))


def test_training_uses_the_statistics_of_the_batch():
    """Normalised by themselves, an image and its brighter copy are the same."""
    image = draw_image(0, 3, 16, 16, 'noisy patches')[None]
    model = DHTTokenizer().train()
    assert torch.equal(model(image).labels, model(3 * image + 1).labels)
    assert not torch.equal(model.eval()(image).labels, model(20 * image).labels)


@pytest.fixture
def mixed() -> Tensor:
    contents = ('noisy patches', 'noise', 'ramp', 'colour')
    return torch.stack([draw_image(i, 3, 23, 30, content) for i, content in enumerate(contents)])


def agree(first: Partition, second: Partition) -> bool:
    return all(same_bits(fields_of(first, image), fields_of(second, image)) for image in range(len(first)))


@pytest.mark.parametrize('training', [False, True])
def test_autocast_changes_no_bit(mixed: Tensor, training: bool):
    model = DHTTokenizer().train(training)
    expected = model(mixed)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = model(mixed)
    assert found.mean.dtype == found.color.dtype == torch.float32 and agree(found, expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_images_are_widened(mixed: Tensor, dtype: torch.dtype):
    found = tokenizer()(mixed.to(dtype))
    assert found.color.dtype == torch.float32 and agree(found, tokenizer()(mixed.to(dtype).float()))


def test_double_precision_images_give_double_precision(mixed: Tensor):
    found = tokenizer()(mixed.double())
    assert found.mean.dtype == found.color.dtype == torch.float64
    check_partition(found, mixed, 8)


def test_layout_changes_no_bit(mixed: Tensor):
    expected = tokenizer()(mixed)
    wide = torch.zeros(4, 3, 23, 60)
    wide[..., ::2] = mixed
    for other in (mixed.to(memory_format=torch.channels_last), wide[..., ::2], mixed.mT.contiguous().mT):
        assert not other.is_contiguous() and agree(tokenizer()(other), expected)


def test_images_are_left_as_they_are(mixed: Tensor):
    before = mixed.clone()
    tokenizer()(mixed)
    assert torch.equal(mixed, before)


def test_no_grad_changes_no_bit(mixed: Tensor):
    expected = tokenizer()(mixed)
    assert expected.color.requires_grad
    with torch.no_grad():
        assert agree(tokenizer()(mixed), expected)


def test_color_is_the_linear_map_of_the_mean(mixed: Tensor):
    model = tokenizer()
    partition = model(mixed)
    torch.testing.assert_close(partition.color, nn.functional.linear(partition.mean, model.color.weight, model.color.bias))


def test_hierarchy_is_what_the_partition_was_selected_from(mixed: Tensor):
    partition, hierarchy = tokenizer()(mixed), tokenizer().hierarchy(mixed)
    assert torch.equal(hierarchy.labels, partition.labels) and torch.equal(hierarchy.bbox, partition.bbox)
    assert not hierarchy.node_mean.requires_grad


def test_initial_weights():
    torch.manual_seed(0)
    model = DHTTokenizer(hidden_channels=400)
    assert model.self_edge.bias.item() == pytest.approx(-2 * math.pi)
    assert model.self_edge.weight.std().item() == pytest.approx(1e-4, rel=0.2) and abs(model.self_edge.weight.mean()) < 3e-5


def test_built_from_a_config():
    model = MODELS.build(dict(type='dht_mm.DHTTokenizer', in_channels=6, hidden_channels=5, kernel='tanimoto', compactness=0.01,
                              criterion='bic', iota=1.0, min_regions=2, token_budget=dict(mode='hard', test=4))).eval()
    images = torch.stack([draw_image(0, 6, 9, 9, 'noise')])
    partition = model(images)
    check_partition(partition, images, 5)
    assert int(partition.num_regions) <= 4


@pytest.mark.parametrize(('images', 'error', 'message'), [
    ([[[[0.0]]]], TypeError, 'images must be a torch.Tensor, got list'),
    (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), TypeError, 'images must be floating point .* got torch.uint8'),
    (torch.zeros(1, 3, 4, 4, dtype=torch.int64), TypeError, 'images must be floating point .* got torch.int64'),
    (torch.zeros(1, 3, 4, 4, dtype=torch.complex64), TypeError, 'images must be floating point .* got torch.complex64'),
    (torch.zeros(3, 4, 4), ValueError, r'images must be \[B, C, H, W\], got shape \(3, 4, 4\)'),
    (torch.zeros(1, 1, 3, 4, 4), ValueError, r'images must be \[B, C, H, W\], got shape \(1, 1, 3, 4, 4\)'),
    (torch.zeros(1, 4, 8, 8), ValueError, r'images must have in_channels = 3 channels, got 4 in shape \(1, 4, 8, 8\)'),
    (torch.zeros(1, 1, 8, 8), ValueError, r'images must have in_channels = 3 channels, got 1 '),
    (torch.zeros(0, 3, 8, 8), ValueError, r'images must hold at least one pixel of one image, got shape \(0, 3, 8, 8\)'),
    (torch.zeros(2, 3, 0, 8), ValueError, r'at least one pixel of one image, got shape \(2, 3, 0, 8\)'),
    (torch.zeros(2, 3, 8, 0), ValueError, r'at least one pixel of one image, got shape \(2, 3, 8, 0\)'),
    (torch.full((1, 3, 2, 2), math.nan), ValueError, 'images must be finite, got 12 NaN or infinite values'),
    (torch.tensor([0.0, math.inf]).expand(1, 3, 2, 2), ValueError, 'images must be finite, got 6 NaN or infinite values'),
    (torch.tensor([0.0, -math.inf]).expand(1, 3, 2, 2), ValueError, 'images must be finite, got 6 ')])
def test_bad_images_are_named(images, error: type, message: str):
    for call in (tokenizer(), tokenizer().hierarchy):
        with pytest.raises(error, match=message):
            call(images)


@pytest.mark.parametrize(('options', 'error', 'message'), [
    (dict(in_channels=0), ValueError, 'in_channels must be a positive integer, got 0'),
    (dict(in_channels=3.0), ValueError, 'in_channels must be a positive integer, got 3.0'),
    (dict(hidden_channels=-8), ValueError, 'hidden_channels must be a positive integer, got -8'),
    (dict(kernel='rbf'), ValueError, "kernel must be one of .* got 'rbf'"),
    (dict(criterion='mdl'), ValueError, r"criterion must be one of \['aic', 'aicc', 'bic', 'cic'\], got 'mdl'"),
    (dict(compactness=1.0), ValueError, r'compactness must be in \[0, 1\), got 1.0'),
    (dict(compactness=-0.01), ValueError, r'compactness must be in \[0, 1\), got -0.01'),
    (dict(compactness=math.nan), ValueError, r'compactness must be in \[0, 1\), got nan'),
    (dict(iota=0), ValueError, 'iota must be positive and finite, got 0'),
    (dict(iota=-5.0), ValueError, 'iota must be positive and finite, got -5.0'),
    (dict(min_regions=0), ValueError, 'min_regions must be a positive integer, got 0'),
    (dict(token_budget=dict(mode='firm')), ValueError, "token_budget mode must be 'soft', 'hard' or 'exact', got 'firm'"),
    (dict(token_budget=dict(mode='soft', train=-1)), ValueError, 'token_budget train must be a positive integer or None, got -1'),
    (dict(token_budget=dict(mode='hard', test=0)), ValueError, 'token_budget test must be a positive integer or None, got 0'),
    (dict(token_budget=dict(mode='hard', test=2.5)), ValueError, 'token_budget test must be a positive integer or None, got 2.5'),
    (dict(token_budget=dict(mode='hard', spread=0)), ValueError, 'token_budget spread must be a positive finite number or None, got 0'),
    (dict(token_budget=dict(mode='hard', spread=float('nan'))), ValueError, 'token_budget spread must be .* got nan'),
    (dict(token_budget=dict(mode='hard', spread=float('inf'))), ValueError, 'token_budget spread must be .* got inf'),
    (dict(token_budget=dict(mode='hard', spread=True)), ValueError, 'token_budget spread must be .* got True'),
    (dict(token_budget=dict(mode='hard', spread='much')), ValueError, "token_budget spread must be .* got 'much'"),
    (dict(token_budget=dict(mode='soft', spread=0.1)), ValueError, "token_budget spread must be None with mode='soft'.* got 0.1"),
    (dict(token_budget=dict(mode='hard', tset=5)), TypeError, 'tset'),
    (dict(token_budget=dict(test=5)), TypeError, 'mode'),
    (dict(token_budget=200), TypeError, 'token_budget must be .* got 200'),
    (dict(compactness='a'), TypeError, "compactness must be .* got 'a'"),
    (dict(iota=None), TypeError, 'iota must be .* got None'),
    (dict(kernel=['gaussian']), ValueError, r"kernel must be one of .* got \['gaussian'\]")])
def test_bad_options_are_named(options: dict, error: type, message: str):
    with pytest.raises(error, match=message):
        DHTTokenizer(**options)


def test_missing_checkpoint_is_named(tmp_path):
    model = DHTTokenizer(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'none.pth')))
    with pytest.raises(FileNotFoundError, match='none.pth'):
        model.init_weights()
