"""Backbones as graphs: ``torch.export`` of all of one, ONNX of what is behind the features; numbers equal to eager ones."""

import importlib.util
from pathlib import Path

import pytest
import torch
from test_dht_vit import OUT_TYPES, draw_images
from torch import Tensor
from torch.export import Dim, ExportedProgram, export, load, save
from torch.utils._pytree import tree_leaves

from dht_mm.backbones.dht_vit import DHTViT
from dht_mm.backbones.region_encoder import RegionEncoder
from dht_mm.tokenizer import DHTTokenizer, GridTokenizer

ALL = dict(num_register_tokens=2, qk_norm=True, pre_norm=True, features=dict(gradient=True), ffn_type='swiglu')
WINDOW = dict(features=dict(crop='window', window_size=5))
SMALL = dict(arch=dict(embed_dims=16, num_layers=3, num_heads=2), img_size=16, patch_size=4)
needs_onnx = pytest.mark.skipif(not all(map(importlib.util.find_spec, ('onnx', 'onnxscript', 'onnxruntime'))),
                                reason='needs onnx, onnxscript and onnxruntime')


def make(capacity: int | None = None, **options) -> DHTViT:
    torch.manual_seed(0)
    return DHTViT(tokenizer=dict(type='dht_mm.DHTTokenizer', capacity=capacity), **SMALL | options).eval()


@torch.no_grad()
def recorded(model: torch.nn.Module, inputs: tuple[Tensor, ...], **options) -> ExportedProgram:
    return export(model, inputs, strict=False, **options)


@pytest.mark.parametrize('out_type, options', [*((out_type, {}) for out_type in OUT_TYPES), ('cls_token', ALL), ('tokens', WINDOW)])
def test_tokenizer_and_encoder_export_and_give_the_same_numbers(out_type: str, options: dict, tmp_path: Path):
    model = make(200, out_type=out_type, **options)
    save(recorded(model, (draw_images(2, 16, 12),)), tmp_path / 'model.pt2')
    images = 2 * draw_images(2, 16, 12).flip(0)
    found, expected = (tree_leaves(each(images)) for each in (load(tmp_path / 'model.pt2').module(), model))
    tensors = [(x, y) for x, y in zip(found, expected, strict=True) if isinstance(y, Tensor)]
    assert tensors and all(torch.equal(x, y) for x, y in tensors)


@pytest.mark.parametrize('mode, counts', [('hard', [15, 16]), ('exact', [16, 16])])
def test_budgets_are_kept_in_the_graph(mode: str, counts: list[int], tmp_path: Path):
    torch.manual_seed(0)
    tokenizer = DHTTokenizer(capacity=384, token_budget=dict(mode=mode, test=16)).eval()
    save(recorded(tokenizer, (draw_images(2, 16, 12),)), tmp_path / 'tokenizer.pt2')
    graph, images = load(tmp_path / 'tokenizer.pt2').module(), draw_images(2, 16, 12).flip(0)
    found, expected = graph(images), tokenizer(images)
    assert expected.num_regions.tolist() == counts
    pairs = zip(tree_leaves(found), tree_leaves(expected), strict=True)
    assert all(torch.equal(x, y) if isinstance(y, Tensor) else x == y for x, y in pairs)


def test_images_that_need_more_rows_tell_so_in_the_graph():
    graph = recorded(make(6).tokenizer, (torch.zeros(1, 3, 16, 12),)).module()
    assert int(graph(torch.zeros(1, 3, 16, 12)).num_regions) == 1
    assert int(graph(draw_images(1, 16, 12)).num_regions) == -1


def test_height_and_width_may_change_between_powers_of_4():
    model = make(2000, out_type='featmap')
    graph = recorded(model, (draw_images(2, 16, 12),), dynamic_shapes=({2: Dim.AUTO, 3: Dim.AUTO},)).module()
    images = draw_images(2, 15, 17)
    assert torch.equal(graph(images)[0], model(images)[0])


@pytest.mark.parametrize('options', [{}, ALL, WINDOW, dict(features=dict(gradient=True, crop='window')), dict(with_cls_token=False)])
def test_region_encoder_is_the_backbone_behind_its_features(options: dict):
    model, images = make(out_type='raw', out_indices=(1, 2), **options), draw_images(3, 16, 12)
    with torch.no_grad():
        found, expected = RegionEncoder(model)(*RegionEncoder.features(model, images)), model(images)[-1]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_region_encoder_takes_a_given_partition():
    model, images = make(out_type='raw'), draw_images(2, 16, 12)
    filled, *rows = RegionEncoder.features(model, images, GridTokenizer(4)(images))
    assert filled.shape == (2, 12) and filled.all() and rows[0].shape == (2, 12, 48)


def test_spare_rows_change_nothing():
    model, images = make(out_type='raw'), draw_images(2, 16, 12)
    encoder, (filled, *rows) = RegionEncoder(model), RegionEncoder.features(model, images)
    longer = [torch.cat([part, part.new_ones(2, 5, part.shape[2])], 1) for part in rows]
    found = encoder(torch.cat([filled, filled.new_zeros(2, 5)], 1), *longer)
    torch.testing.assert_close(found[:, :-5], encoder(filled, *rows), atol=1e-5, rtol=1e-5)
    assert not found[:, -5:].any()


@needs_onnx
@pytest.mark.parametrize('options', [{}, ALL, WINDOW])
def test_onnx_gives_the_same_numbers_for_other_batches_and_regions(options: dict, tmp_path: Path):
    import onnxruntime

    model = make(out_type='raw', **options)
    encoder = RegionEncoder(model)
    inputs = RegionEncoder.features(model, draw_images(2, 16, 12))
    shapes = tuple({0: Dim('batch', min=1, max=4096), 1: Dim('regions', min=2, max=1 << 16)} for _ in inputs)
    torch.onnx.export(recorded(encoder, inputs, dynamic_shapes=shapes), dynamo=True).save(tmp_path / 'encoder.onnx')
    session = onnxruntime.InferenceSession(tmp_path / 'encoder.onnx')
    for images in (draw_images(3, 20, 17), draw_images(1, 9, 9)):
        inputs = RegionEncoder.features(model, images)
        found, = session.run(None, {place.name: value.numpy() for place, value in zip(session.get_inputs(), inputs, strict=True)})
        torch.testing.assert_close(torch.from_numpy(found), model(images)[0].detach(), atol=1e-5, rtol=1e-5)


def test_what_cannot_be_exported_is_refused():
    with pytest.raises(ValueError, match='backbone must be in evaluation'):
        RegionEncoder(make().train())
    with pytest.raises(ValueError, match='compile_blocks=False'):
        RegionEncoder(make(compile_blocks=True))
