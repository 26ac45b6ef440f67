"""The token head by itself."""

import importlib
import sys

import pytest
import torch
from torch import nn

import dht_mm.heads
from dht_mm.losses import ImageBCELoss, RegionFocalLoss
from dht_mm.structures import RegionTokens

pytest.importorskip('mmseg')
from mmengine.structures import PixelData  # noqa: E402
from mmseg.models import accuracy  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

IMAGE_LOSS = dict(type='dht_mm.ImageBCELoss')


def make_head(**settings):
    torch.manual_seed(0)
    head = MODELS.build(dict(type='dht_mm.TokenHead', in_channels=8, num_classes=4) | settings)
    nn.init.normal_(head.conv_seg.weight)
    return head


def samples_of(labels):
    return [SegDataSample(gt_sem_seg=PixelData(data=one[None])) for one in labels]


@pytest.fixture
def features(color_regions, images):
    return color_regions(blocks=3)(images)


def test_every_pixel_has_exactly_its_regions_logits(features):
    head = make_head()
    pixels = head(features)
    rows = head.conv_seg(features.tokens[-1])
    assert pixels.shape == (2, 4, 12, 16)
    assert torch.equal(pixels.movedim(1, -1), rows[features.partition.packed_labels])


def test_mlp_is_two_linear_layers_before_the_linear_map(features):
    head = make_head(classifier='mlp')
    assert {name: tuple(value.shape) for name, value in head.named_parameters()} == {
        'mlp.fc1.weight': (32, 8), 'mlp.fc1.bias': (32,), 'mlp.fc2.weight': (8, 32), 'mlp.fc2.bias': (8,),
        'conv_seg.weight': (4, 8), 'conv_seg.bias': (4,)}
    rows = features.tokens[-1]
    expected = head.conv_seg(head.mlp.fc2(nn.functional.gelu(head.mlp.fc1(rows))))
    assert torch.equal(head.classify(features.tokens), expected)


@pytest.mark.parametrize(('concat_last', 'in_index', 'blocks'), [
    (1, 0, [0]), (2, -1, [1, 2]), (2, 1, [0, 1]), (2, -2, [0, 1]), (3, 2, [0, 1, 2])])
def test_concat_last_reads_the_last_blocks_in_order(features, concat_last, in_index, blocks):
    head = make_head(concat_last=concat_last, in_index=in_index)
    expected = head.conv_seg(torch.cat([features.tokens[block] for block in blocks], 1))
    assert torch.equal(head.classify(features.tokens), expected)


@pytest.mark.parametrize('settings', [dict(concat_last=4), dict(concat_last=2, in_index=0), dict(in_index=3), dict(in_index=-4)])
def test_refuses_more_blocks_than_there_are(features, settings):
    with pytest.raises(ValueError, match='out_indices'):
        make_head(**settings)(features)


def test_losses_are_those_of_regions_and_class_tokens(features, labels):
    head = make_head(loss_decode=dict(type='dht_mm.RegionFocalLoss', gamma=2.0), loss_image=IMAGE_LOSS)
    losses = head.loss(features, samples_of(labels))
    rows, images = head.conv_seg(features.tokens[-1]), head.conv_seg(features.cls_tokens[-1])
    assert torch.equal(losses['loss_focal'], RegionFocalLoss(2.0)(rows, labels, features.partition))
    assert torch.equal(losses['loss_image'], ImageBCELoss()(images, labels))
    assert torch.allclose(losses['acc_seg'], accuracy(head(features), labels, ignore_index=255))


def test_an_ignored_class_is_not_counted_in_the_accuracy(features):
    predicted = make_head()(features).argmax(1)
    ignored = int(predicted.flatten().mode().values)
    labels = predicted.clone()
    labels[:, :, :8] = (predicted[:, :, :8] + 1) % 4  # right in the right half
    counted = labels != ignored
    expected = 100 * (predicted == labels)[counted].float().mean()
    losses = make_head(ignore_index=ignored).loss(features, samples_of(labels))
    assert 0 < expected < 50 and torch.allclose(losses['acc_seg'], expected)


def test_region_losses_build_no_map_of_logits(features, labels, monkeypatch):
    def refuse(*_):
        raise AssertionError('scattered')
    monkeypatch.setattr(type(features.partition), 'scatter', refuse)
    assert make_head(loss_image=IMAGE_LOSS).loss(features, samples_of(labels))['loss_focal'] > 0


@pytest.mark.parametrize('loss_decode', [
    dict(type='CrossEntropyLoss', avg_non_ignore=True, class_weight=None),
    dict(type='DiceLoss', use_sigmoid=False),
    dict(type='LovaszLoss', reduction='none'),
    [dict(type='CrossEntropyLoss'), dict(type='DiceLoss', loss_weight=3.0), dict(type='dht_mm.RegionFocalLoss')],
])
def test_pixel_losses_read_the_painted_logits(features, labels, loss_decode):
    head = make_head(loss_decode=loss_decode)
    losses = head.loss(features, samples_of(labels))
    configs = loss_decode if isinstance(loss_decode, list) else [loss_decode]
    for config in configs:
        loss = MODELS.build(config)
        if isinstance(loss, RegionFocalLoss):
            expected = loss(head.conv_seg(features.tokens[-1]), labels, features.partition)
        else:
            expected = loss(head(features), labels, weight=None, ignore_index=255)
        assert torch.allclose(losses[loss.loss_name], expected)
    assert len(losses) == len(configs) + 1


def test_losses_of_one_name_are_added(features, labels):
    twice = make_head(loss_decode=[dict(type='dht_mm.RegionFocalLoss')] * 2).loss(features, samples_of(labels))
    assert torch.allclose(twice['loss_focal'], 2 * make_head().loss(features, samples_of(labels))['loss_focal'])


def test_a_pixel_sampler_chooses_among_the_painted_pixels(features, labels):
    settings = dict(loss_decode=dict(type='CrossEntropyLoss', reduction='none'))
    hard = make_head(**settings, sampler=dict(type='OHEMPixelSampler', min_kept=5)).loss(features, samples_of(labels))
    every = make_head(**settings).loss(features, samples_of(labels))
    assert (hard['loss_ce'] > 0).sum() == 10 and torch.equal(hard['loss_ce'].max(), every['loss_ce'].max())


def test_binary_output_with_a_threshold(features, labels):
    head = make_head(num_classes=2, out_channels=1, threshold=0.5, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True))
    labels = (labels == 1).long()
    losses = head.loss(features, samples_of(labels))
    right = (head(features)[:, 0] > 0) == labels
    assert torch.allclose(losses['acc_seg'], 100 * right.float().mean()) and losses['loss_ce'].isfinite()


@pytest.mark.parametrize('settings', [
    dict(), dict(loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True), loss_image=IMAGE_LOSS)])
def test_refuses_region_and_image_losses_of_one_channel(settings):
    with pytest.raises(ValueError, match='out_channels'):
        make_head(num_classes=2, out_channels=1, threshold=0.5, **settings)


@pytest.mark.parametrize(('settings', 'error'), [
    (dict(classifier='conv'), ValueError), (dict(concat_last=0), ValueError), (dict(concat_last=1.5), ValueError),
    (dict(sampler=dict(type='OHEMPixelSampler')), ValueError), (dict(ignore_index=None), TypeError),
    (dict(norm_cfg=dict(type='BN')), TypeError), (dict(input_transform='resize_concat'), TypeError),
    (dict(channels=8), TypeError)])
def test_refuses_settings_without_meaning(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        make_head(**settings)


def test_refuses_an_image_loss_without_class_token(features, labels):
    bare = RegionTokens(features.tokens, (), features.partition)
    with pytest.raises(ValueError, match='loss_image'):
        make_head(loss_image=IMAGE_LOSS).loss(bare, samples_of(labels))
    assert make_head().loss(bare, samples_of(labels))['loss_focal'].isfinite()


def test_refuses_feature_maps(images, labels):
    for call in (lambda head: head((images,)), lambda head: head.loss((images,), samples_of(labels))):
        with pytest.raises(TypeError, match=r"out_type='tokens'.*tuple"):
            call(make_head())


@pytest.mark.parametrize('loss_decode', [dict(type='dht_mm.RegionFocalLoss'), dict(type='DiceLoss')])
@pytest.mark.parametrize('value', [4, -1, 254])
def test_refuses_labels_out_of_range(features, labels, loss_decode, value):
    labels[1, 5, 7] = value
    with pytest.raises(ValueError, match=f'labels.* got {value}'):
        make_head(loss_decode=loss_decode).loss(features, samples_of(labels))


def test_refuses_label_maps_of_another_size(features, labels):
    samples = samples_of(labels)
    samples[1] = SegDataSample(gt_sem_seg=PixelData(data=labels[1:, :6]))
    with pytest.raises(ValueError, match=r'gt_sem_seg.*\(12, 16\).*\(6, 16\)'):
        make_head().loss(features, samples)


@pytest.mark.parametrize('loss_decode', [
    dict(type='dht_mm.RegionFocalLoss'), dict(type='CrossEntropyLoss', avg_non_ignore=True),
    dict(type='LovaszLoss', reduction='none')])
def test_a_batch_of_ignored_pixels_only_gives_zero_gradients(features, labels, loss_decode):
    head = make_head(classifier='mlp', loss_decode=loss_decode, loss_image=IMAGE_LOSS)
    losses = head.loss(features, samples_of(torch.full_like(labels, 255)))
    total = sum(value for name, value in losses.items() if 'loss' in name)
    total.backward()
    assert total == 0 and losses['acc_seg'] == 0
    assert all(not parameter.grad.any() for parameter in head.parameters())


@pytest.mark.parametrize('classifier', ['linear', 'mlp'])
def test_every_parameter_learns(features, labels, classifier):
    head = make_head(classifier=classifier, concat_last=2)
    head.loss(features, samples_of(labels))['loss_focal'].backward()
    assert all(parameter.grad.any() for parameter in head.parameters())


def test_half_precision_tokens_give_a_float32_loss(features, labels):
    head = make_head(loss_image=IMAGE_LOSS)
    exact = head.loss(features, samples_of(labels))
    with torch.autocast('cpu', torch.bfloat16):
        half = head.loss(features, samples_of(labels))
    for name in ('loss_focal', 'loss_image'):
        assert half[name].dtype == torch.float32 and torch.allclose(half[name], exact[name], rtol=0.05)


def test_init_draws_small_weights():
    head = make_head(in_channels=64, classifier='mlp')
    head.init_weights()
    assert 0.018 < head.conv_seg.weight.std() < 0.022 and 0.018 < head.mlp.fc1.weight.std() < 0.022
    assert not head.conv_seg.bias.any()


def test_without_mmseg_the_room_has_no_token_head(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    monkeypatch.setattr(dht_mm, 'heads', dht_mm.heads)  # put back in the end what the import replaces
    monkeypatch.delitem(sys.modules, 'dht_mm.heads')
    room = importlib.import_module('dht_mm.heads')
    assert room.__all__ == ['KNNClassifier', 'PixelDecode'] and not hasattr(room, 'TokenHead')


def test_a_broken_mmseg_is_not_hidden(monkeypatch):
    for name in ('dht_mm.heads', 'dht_mm.heads.token_head'):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'mmseg.models.decode_heads.decode_head', None)
    with pytest.raises(ImportError, match='decode_head'):
        __import__('dht_mm.heads')


DECODE = dict(decode=dict(places=2, mix=4))


def decoded(features, images, **settings):
    """A head whose decode has a say, and its inputs."""
    head = make_head(**DECODE | settings)
    for linear in (head.decode.places, head.decode.slopes):
        nn.init.normal_(linear.weight, std=0.5)
    return head, features._replace(images=images)


def test_decoded_pixels_are_those_of_the_region_logits(features, images):
    head, inputs = decoded(features, images)
    tokens = features.tokens[-1]
    expected = head.decode(head.conv_seg(tokens), tokens, features.partition, images)
    assert torch.equal(head(inputs), expected)
    with torch.no_grad():
        predicted = head(inputs)
        torch.testing.assert_close(predicted, expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(head.pixelwise(inputs, lambda logits: logits.argmax(1, keepdim=True)), predicted.argmax(1, keepdim=True))
    assert not torch.allclose(expected, features.partition.scatter(head.conv_seg(tokens)), atol=0.1)


@pytest.mark.parametrize('settings', [dict(), dict(loss_decode=[dict(type='DiceLoss'), dict(type='dht_mm.RegionFocalLoss')]),
                                      dict(loss_image=IMAGE_LOSS, dropout_ratio=0.1, classifier='mlp', concat_last=2)])
def test_losses_of_pixels_read_decoded_logits_and_train_all_parts(features, images, labels, settings):
    head, inputs = decoded(features, images, **settings)
    torch.manual_seed(0)
    losses = head.loss(inputs, samples_of(labels))
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in head.parameters())
    if not settings:
        pixels = head(inputs)
        assert torch.allclose(losses['loss_ce'], nn.functional.cross_entropy(pixels, labels, ignore_index=255))
        assert torch.allclose(losses['acc_seg'], accuracy(pixels, labels, ignore_index=255))


@pytest.mark.parametrize('stride', [2, 3])
def test_losses_of_pixels_read_a_random_lattice(features, images, labels, stride):
    head, inputs = decoded(features, images, loss_stride=stride)
    pixels, (height, width) = head(inputs), (length // stride * stride for length in labels.shape[1:])

    def loss_from(top: int, left: int) -> float:
        places = slice(top, height, stride), slice(left, width, stride)
        return nn.functional.cross_entropy(pixels[(..., *places)], labels[(..., *places)], ignore_index=255).item()
    expected = {(top, left): loss_from(top, left) for top in range(stride) for left in range(stride)}
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        losses = head.loss(inputs, samples_of(labels))
        near = [place for place, value in expected.items() if abs(value - losses['loss_ce'].item()) < 1e-5]
        assert near and 0 <= losses['acc_seg'] <= 100
        seen.update(near)
    assert len(seen) > stride
    assert torch.equal(head(inputs), pixels)  # predictions are of all pixels


def test_a_lattice_has_a_pixel_of_the_smallest_image(features, images, labels):
    head, inputs = decoded(features, images, loss_stride=1000)
    losses = head.loss(inputs, samples_of(labels.zero_()))
    assert losses['loss_ce'].isfinite() and losses['loss_ce'] > 0


def test_a_lattice_needs_a_decode():
    with pytest.raises(ValueError, match='loss_stride must be 1 without decode, got 2'):
        make_head(loss_stride=2)
    with pytest.raises(ValueError, match='loss_stride must be a positive integer, got 0'):
        make_head(**DECODE, loss_stride=0)


def test_losses_of_regions_do_not_see_the_lattice(features, images, labels):
    settings = dict(loss_decode=[dict(type='CrossEntropyLoss'), dict(type='dht_mm.RegionFocalLoss')])
    losses = []
    for stride in (1, 3):
        torch.manual_seed(0)
        head, inputs = decoded(features, images, loss_stride=stride, **settings)
        losses.append(head.loss(inputs, samples_of(labels)))
    assert torch.equal(*(loss['loss_focal'] for loss in losses)) and not torch.equal(*(loss['loss_ce'] for loss in losses))


def test_initialisation_leaves_the_start_of_the_decode():
    head = make_head(**DECODE, classifier='mlp')
    head.init_weights()
    assert not head.decode.places.weight.any() and not head.decode.slopes.weight.any() and head.conv_seg.weight.any()


def test_refuses_a_decode_that_nothing_trains_and_inputs_without_images(features):
    with pytest.raises(ValueError, match='loss_decode must have a loss of pixels'):
        make_head(**DECODE, loss_decode=dict(type='dht_mm.RegionFocalLoss'))
    with pytest.raises(ValueError, match='images=None'):
        make_head(**DECODE)(features)
