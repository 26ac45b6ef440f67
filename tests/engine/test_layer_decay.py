"""Layer-wise learning rates in both toolkits, for our backbone and theirs."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

SIZES = dict(arch=dict(embed_dims=16, num_layers=2, num_heads=2), img_size=24, patch_size=8)
UNDECAYED = ('norm', 'bias', 'gamma', 'cls_token', 'register_tokens', 'pos_embed', 'mix_logit')
OURS = dict(type='dht_mm.DHTViT', num_register_tokens=2)
NO_DECAY = dict(norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0., custom_keys={
    key: dict(decay_mult=0.) for key in ('.cls_token', '.register_tokens', '.pos_embed')})


def make_wrapper(model: nn.Module, rate: float = 0.5, scope: str = 'mmengine', **paramwise) -> OptimWrapper:
    with DefaultScope.overwrite_default_scope(scope):
        return build_optim_wrapper(model, ConfigDict(
            constructor='dht_mm.LayerDecayOptimWrapperConstructor', optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1),
            paramwise_cfg=NO_DECAY | dict(layer_decay_rate=rate) | paramwise))


def settings(model: nn.Module, wrapper: OptimWrapper) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of every parameter, by its name."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    found = {names[parameter]: (group['lr'], group['weight_decay']) for group in groups for parameter in group['params']}
    assert len(found) == sum(len(group['params']) for group in groups)
    return found


def make_classifier(**backbone) -> nn.Module:
    registry = pytest.importorskip('mmpretrain.registry')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return registry.MODELS.build(ConfigDict(
            type='ImageClassifier', backbone=SIZES | (backbone or OURS),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=16, loss=dict(type='CrossEntropyLoss'))))


def make_segmenter() -> nn.Module:
    registry = pytest.importorskip('mmseg.registry')
    with DefaultScope.overwrite_default_scope('mmseg'):
        return registry.MODELS.build(ConfigDict(
            type='EncoderDecoder', backbone=SIZES | OURS | dict(out_type='tokens'),
            decode_head=dict(type='dht_mm.TokenHead', in_channels=16, num_classes=3)))


@pytest.mark.parametrize('make_model, head, scope', [
    (make_classifier, 'head.fc', 'mmpretrain'), (make_segmenter, 'decode_head.conv_seg', 'mmseg')])
def test_rates_and_decays_of_both_toolkits(make_model, head: str, scope: str):
    model = make_model()
    found = settings(model, make_wrapper(model, scope=scope))
    assert found.keys() == dict(model.named_parameters()).keys()
    rates = {f'{head}.weight': 1, 'backbone.encoder.norm.weight': 1, 'backbone.encoder.blocks.1.attn.qkv.weight': 0.5,
             'backbone.encoder.blocks.0.mlp.fc1.weight': 0.25, 'backbone.embedding.patch_embed.weight': 0.125,
             'backbone.tokenizer.color.weight': 0.125}
    assert {name: found[name][0] for name in rates} == rates
    undecayed = {name for name, (_, decay) in found.items() if decay == 0}
    assert undecayed == {name for name in found if any(part in name for part in UNDECAYED)}


def test_it_agrees_with_mmpretrains_on_mmpretrains_backbones():
    optimizers = pytest.importorskip('mmpretrain.engine.optimizers')
    model = make_classifier(type='VisionTransformer', arch=SIZES['arch'] | dict(feedforward_channels=32))
    paramwise = dict(layer_decay_rate=0.7, norm_decay_mult=0., bias_decay_mult=0.)
    theirs = optimizers.LearningRateDecayOptimWrapperConstructor(
        dict(optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1)), paramwise)(model)
    wrapper = make_wrapper(model, **paramwise, rate=0.7, flat_decay_mult=None, custom_keys={})
    ours, expected = settings(model, wrapper), settings(model, theirs)
    assert ours.keys() == expected.keys() and all(ours[name] == pytest.approx(expected[name]) for name in ours)
    assert len(wrapper.optimizer.param_groups) < len(theirs.optimizer.param_groups) / 3


def test_settings_of_custom_keys_are_kept_and_scaled():
    model = make_classifier()
    found = settings(model, make_wrapper(model, custom_keys={'.tokenizer': dict(lr_mult=4.0, decay_mult=0.5)}))
    assert found['backbone.tokenizer.color.weight'] == (0.5, 0.05)


def test_frozen_parameters_change_nothing_for_the_others():
    model = make_classifier(**OURS, frozen_stages=1)
    free = make_classifier()
    found, expected = settings(model, make_wrapper(model)), settings(free, make_wrapper(free))
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained and all(found[name] == expected[name] for name in trained)


def test_config_of_the_documentation_leaves_what_it_says_without_decay():
    page = Path(__file__).resolve().parents[2] / 'docs/backbone.md'
    code, = re.findall(r'```python\n(optim_wrapper = .*?)```', page.read_text(), re.DOTALL)
    model = make_classifier()
    wrapper = build_optim_wrapper(model, Config.fromstring(code, '.py').optim_wrapper)
    undecayed = {name for name, (_, decay) in settings(model, wrapper).items() if decay == 0}
    assert undecayed == {name for name, _ in model.named_parameters() if any(part in name for part in UNDECAYED)}


def test_backbone_alone_and_model_within_a_model():
    backbone = make_classifier().backbone
    rates = settings(backbone, make_wrapper(backbone))
    assert rates['encoder.blocks.0.attn.proj.weight'][0] == 0.25
    model = nn.ModuleDict(dict(student=nn.ModuleDict(dict(vit=backbone)), probe=nn.Linear(2, 2)))
    rates = settings(model, make_wrapper(model))
    assert rates['student.vit.encoder.blocks.0.attn.proj.weight'][0] == 0.25 and rates['probe.weight'][0] == 1


def test_a_step_moves_layers_by_their_rate():
    model = make_classifier()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    wrapper = make_wrapper(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    wrapper.step()
    # The first step of Adam is the learning rate, whatever the gradient.
    moved = {name: (before[name] - parameter).abs().mean().item() for name, parameter in model.named_parameters() if 'bias' in name}
    assert moved['head.fc.bias'] == pytest.approx(1, rel=1e-3)
    assert moved['backbone.embedding.patch_embed.bias'] == pytest.approx(0.125, rel=1e-3)


@pytest.mark.parametrize('rate', [None, 0, 1.5, 'high'])
def test_bad_rate_is_named(rate: object):
    with pytest.raises(ValueError, match=r'layer_decay_rate of paramwise_cfg must be in \(0, 1\], got'):
        make_wrapper(make_classifier(), rate)


def test_model_without_layers_is_named():
    with pytest.raises(ValueError, match='must have get_layer_depth, or a part that has, got a Linear'):
        make_wrapper(nn.Linear(1, 1))
