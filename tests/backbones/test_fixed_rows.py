"""Partitions with a fixed number of rows give what packed ones give, and their spare rows change nothing."""

import pytest
import torch
from fixed_rows import FixedRows, with_spare_rows
from test_dht_vit import OUT_TYPES, WINDOW, draw_images, make_model
from torch import Tensor

from dht_mm.encoder import TokenLayout
from dht_mm.ops import use_backend
from dht_mm.structures import Partition

CAPACITY, MOST = 300, 120
ALL = dict(num_register_tokens=2, qk_norm=True, pre_norm=True, features=dict(gradient=True))


def make_pair(**options) -> tuple:
    """A backbone on packed partitions, and the same one on partitions of a fixed length."""
    packed, fixed = make_model(**options), make_model(**options)
    fixed.tokenizer = FixedRows(fixed.tokenizer, CAPACITY, MOST)
    return packed, fixed


def tensors_of(output) -> list[Tensor]:
    """Those that hold tokens, spare rows and padding left out."""
    if not hasattr(output, 'partition'):
        return [*output]
    count = int(output.partition.offsets[-1])
    assert not any(tokens[count:].any() for tokens in output.tokens)
    return [*(tokens[:count] for tokens in output.tokens), *output.cls_tokens]


def gradients(model: torch.nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Of a sum over all that comes out."""
    model.zero_grad()
    sum((x**3).sum() for x in tensors_of(model(images))).backward()
    return {name.replace('tokenizer.tokenizer', 'tokenizer'): parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize('out_type, options, backend', [
    *((out_type, {}, 'auto') for out_type in OUT_TYPES), ('cls_token', ALL, 'torch'), ('raw', ALL, 'auto'),
    ('featmap', dict(with_cls_token=False), 'auto'), ('tokens', dict(features=WINDOW), 'auto'), ('raw', dict(features=WINDOW), 'torch')])
def test_outputs_and_gradients_are_those_of_packed_rows(out_type: str, options: dict, backend: str):
    packed, fixed = make_pair(out_type=out_type, out_indices=(0, 2), **options)
    images = draw_images(2, 16, 12)
    with use_backend(backend):
        found, expected = tensors_of(fixed.eval()(images)), tensors_of(packed.eval()(images))
        for x, y in zip(found, expected, strict=True):
            if out_type == 'raw':
                assert x.shape[1] == MOST + y.shape[1] - int(packed.tokenizer(images).num_regions.max())
                assert not x[:, y.shape[1]:].any()
                x = x[:, :y.shape[1]]
            assert torch.allclose(x, y, atol=1e-5, rtol=1e-5)
        found, expected = gradients(fixed.train(), images), gradients(packed.train(), images)
    for name, grad in expected.items():
        assert (found[name] - grad).abs().max() <= 1e-4 * grad.abs().max() + 1e-5, name


def test_spare_rows_give_and_get_no_gradient():
    model, images = make_model(out_type='featmap', features=dict(gradient=True)), draw_images(2, 16, 12)
    partition = model.tokenizer(images)
    used = partition.total_regions
    fixed = with_spare_rows(partition, used + 50, MOST)
    rows = [row.detach().requires_grad_() for row in model.features(images, fixed)]
    assert all(row.isfinite().all() for row in rows)
    tokens = model.embedding(rows, fixed)
    tokens.retain_grad()
    layout = model._layout(fixed)
    output = model.encoder(tokens, layout, (2,))[2]
    assert output.isfinite().all() and len(output) == used + 50 + 2
    model._format(output[:0, None], output[2:], fixed).sum().backward()
    assert not tokens.grad[used + 2:].any() and all(not row.grad[used:].any() and row.grad.isfinite().all() for row in rows)


def test_tokens_of_images_do_not_see_spare_ones():
    model = make_model().eval()
    layout = TokenLayout(torch.tensor([0, 4, 9], dtype=torch.int32), 30, 8)
    x = torch.randn(30, 16)
    changed = torch.cat([x[:9], torch.randn(21, 16)])
    expected = model.encoder(x[:9], TokenLayout(layout.offsets, 9), (2,))[2]
    for tokens in (x, changed):
        assert torch.allclose(model.encoder(tokens, layout, (2,))[2][:9], expected, atol=1e-5)
    assert layout.ends() == (0, 15) and layout.image.tolist() == [0] * 4 + [1] * 26
    assert len(layout) == 2 and layout._sequences.tolist() == [0, 4, 9, 24, 30]


def test_no_spare_rows_left():
    layout = TokenLayout(torch.tensor([0, 4, 9], dtype=torch.int32), 9, 8)
    assert layout._sequences.tolist() == [0, 4, 9, 9, 9] and layout.ends() == (0, 8)
    x = torch.randn(9, 16, requires_grad=True)
    encoder = make_model().encoder
    output = encoder(x, layout, (2,))[2]
    assert torch.allclose(output, encoder(x, TokenLayout(layout.offsets, 9), (2,))[2], atol=1e-5)
    output.sum().backward()
    assert x.grad.isfinite().all()


def test_a_partition_is_a_tree_of_tensors():
    partition = with_spare_rows(make_model().tokenizer(draw_images(2, 16, 12)), CAPACITY, MOST)
    leaves, form = torch.utils._pytree.tree_flatten((partition, 3))
    copy, _ = torch.utils._pytree.tree_unflatten(leaves, form)
    assert isinstance(copy, Partition) and copy.max_regions == MOST and len(leaves) == 8
    assert copy.labels is partition.labels and copy.color is partition.color


def test_dropped_images_are_those_of_packed_rows():
    layouts = TokenLayout(torch.tensor([0, 4, 9], dtype=torch.int32), 30, 8), TokenLayout(torch.tensor([0, 4, 9], dtype=torch.int32), 9)
    drop_path = make_model(drop_path_rate=0.5).encoder.blocks[-1].drop_path.train()
    draws = []
    for layout in layouts:
        torch.manual_seed(3)
        draws.append(drop_path(layout, 2)[:, :9])
    assert torch.equal(*draws)
