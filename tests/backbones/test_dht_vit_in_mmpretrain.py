"""The backbone in mmpretrain's classifier, trained and set up by its stock parts."""

import pytest
import torch

pytest.importorskip('mmpretrain')
from mmengine.config import ConfigDict  # noqa: E402
from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor  # noqa: E402
from mmpretrain.registry import MODELS  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402


def make_classifier(**backbone):
    torch.manual_seed(0)
    sizes = dict(arch=dict(embed_dims=16, num_layers=2, num_heads=2), img_size=24, patch_size=8)
    return MODELS.build(ConfigDict(
        type='ImageClassifier',
        data_preprocessor=dict(mean=[0] * 3, std=[1] * 3, num_classes=3),
        backbone=dict(type='dht_mm.DHTViT') | sizes | backbone,
        head=dict(type='LinearClsHead', num_classes=3, in_channels=16, loss=dict(type='CrossEntropyLoss'))))


@pytest.fixture
def data():
    images = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0)).repeat_interleave(6, 2).repeat_interleave(6, 3)
    return dict(inputs=images, data_samples=[DataSample().set_gt_label(label) for label in range(3)])


@pytest.mark.parametrize('options', [
    {}, dict(out_type='avg_featmap', with_cls_token=False), dict(tokenizer=dict(type='dht_mm.GridTokenizer', patch_size=8))])
def test_training_reaches_every_parameter_and_learns(data, options):
    model = make_classifier(**options).train()
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    losses = []
    for _ in range(40):
        loss = model(**model.data_preprocessor(data, training=True), mode='loss')['loss']
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    with torch.no_grad():
        predictions = model.train().val_step(data)  # batch norm of three images is no running statistic yet
    assert [prediction.pred_label.item() for prediction in predictions] == [0, 1, 2]


def test_a_feature_map_goes_through_a_neck(data):
    model = make_classifier(out_type='featmap')
    model.neck = MODELS.build(dict(type='GlobalAveragePooling'))
    assert model(data['inputs'], mode='tensor').shape == (3, 3)


def test_stock_layer_decay_and_weight_decay_rules():
    model = make_classifier()
    constructor = LearningRateDecayOptimWrapperConstructor(
        dict(optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1)),
        dict(layer_decay_rate=0.5, norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0,
             custom_keys={'.cls_token': dict(decay_mult=0.0), '.pos_embed': dict(decay_mult=0.0)}))
    groups = {group['param_name']: group for group in constructor(model).optimizer.param_groups}
    assert len(groups) == len(list(model.parameters()))
    rates = {'head.fc.weight': 1, 'backbone.encoder.norm.weight': 1, 'backbone.encoder.blocks.1.attn.qkv.weight': 0.5,
             'backbone.encoder.blocks.0.mlp.fc1.weight': 0.25, 'backbone.embedding.patch_embed.weight': 0.125,
             'backbone.tokenizer.color.weight': 0.125}
    assert {name: groups[name]['lr'] for name in rates} == rates
    for name in ('embedding.cls_token', 'embedding.pos_embed.weight', 'encoder.blocks.0.norm1.weight',
                 'encoder.blocks.0.ls1.gamma', 'encoder.blocks.0.attn.proj.bias', 'features.pixels.mix_logit'):
        assert groups[f'backbone.{name}']['weight_decay'] == 0, name
    assert groups['backbone.encoder.blocks.0.attn.proj.weight']['weight_decay'] == 0.1
