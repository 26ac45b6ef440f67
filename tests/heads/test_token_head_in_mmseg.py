"""The token head inside mmsegmentation's segmentor: training, whole and sliding inference, test-time augmentation."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper

pytest.importorskip('mmseg')
from mmengine.structures import PixelData  # noqa: E402
from mmseg.models import SegTTAModel  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402


def make_model(backbone_type, test_cfg=None, head=None, **settings):
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='mmseg.SegDataPreProcessor', size=(12, 16)),
        backbone=dict(type=backbone_type),
        decode_head=dict(type='dht_mm.TokenHead', in_channels=8, num_classes=4) | (head or {}),
        test_cfg=test_cfg or dict(mode='whole')) | settings))
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    return model


def batch_of(images, labels=None, **meta):
    samples = [SegDataSample(metainfo=dict(img_shape=image.shape[1:], ori_shape=image.shape[1:], img_path='image') | meta)
               for image in images]
    for sample, one in zip(samples, labels if labels is not None else (), strict=False):
        sample.gt_sem_seg = PixelData(data=one[None])
    return dict(inputs=list(images), data_samples=samples)


def region_logits(model, image):
    features = model.backbone(image[None])
    return features.partition, model.decode_head.classify(features.tokens)


def test_training_learns_the_labels(color_regions, images, labels):
    model = make_model(color_regions, head=dict(loss_image=dict(type='dht_mm.ImageBCELoss')))
    optimizer = OptimWrapper(torch.optim.Adam(model.parameters(), 0.05))
    logs = [model.train_step(batch_of(images, labels), optimizer) for _ in range(60)]
    assert set(logs[0]) == {'loss', 'decode.loss_focal', 'decode.loss_image', 'decode.acc_seg'}
    assert torch.allclose(logs[0]['loss'], logs[0]['decode.loss_focal'] + logs[0]['decode.loss_image'])
    assert logs[-1]['loss'] < 0.7 * logs[0]['loss'] and logs[-1]['decode.acc_seg'] > logs[0]['decode.acc_seg']


@torch.no_grad()
def test_whole_mode_gives_each_pixel_exactly_its_regions_logits(color_regions, images):
    model = make_model(color_regions).eval()
    for image, result in zip(images, model.test_step(batch_of(images)), strict=True):
        partition, logits = region_logits(model, image)
        assert torch.equal(result.seg_logits.data, partition.scatter(logits)[0])
        assert torch.equal(result.pred_sem_seg.data[0], logits.argmax(1)[partition.labels[0].long()])


@torch.no_grad()
def test_whole_mode_resizes_the_map_to_the_original_shape(color_regions, images):
    result, = make_model(color_regions).eval().test_step(batch_of(images[:1], ori_shape=(24, 40)))
    assert result.pred_sem_seg.shape == (24, 40) and result.seg_logits.shape == (24, 40)


@torch.no_grad()
def test_slide_mode_averages_the_crops(color_regions, images):
    model = make_model(color_regions, dict(mode='slide', crop_size=(12, 10), stride=(12, 6))).eval()
    result, = model.test_step(batch_of(images[:1]))
    crops = [model.decode_head(model.backbone(images[:1, :, :, start:start + 10]))[0] for start in (0, 6)]
    expected = torch.cat([crops[0][..., :6], (crops[0][..., 6:] + crops[1][..., :4]) / 2, crops[1][..., 4:]], 2)
    assert torch.allclose(result.seg_logits.data, expected, atol=1e-6)


@torch.no_grad()
def test_tensor_mode_and_prediction_without_samples(color_regions, images):
    model = make_model(color_regions).eval()
    logits = model(images, mode='tensor')
    assert torch.equal(logits, model.decode_head(model.backbone(images)))
    assert torch.equal(model(images, mode='predict')[1].seg_logits.data, logits[1])


@torch.no_grad()
@pytest.mark.parametrize('direction', ['horizontal', 'vertical'])
def test_flip_augmentation_of_a_symmetric_model_changes_nothing(color_regions, images, direction):
    model = make_model(color_regions, data_preprocessor=dict(type='mmseg.SegDataPreProcessor')).eval()
    plain, = model.test_step(batch_of(images[:1]))
    flipped = batch_of(images[:1].flip(3 if direction == 'horizontal' else 2), flip=True, flip_direction=direction)
    views = [batch_of(images[:1]), flipped]
    merged, = SegTTAModel(module=model).test_step({key: [view[key] for view in views] for key in ('inputs', 'data_samples')})
    assert torch.equal(merged.pred_sem_seg.data, plain.pred_sem_seg.data)
    for sample in flipped['data_samples']:
        sample.set_metainfo(dict(flip=False))
    unflipped, = model.test_step(flipped)
    assert not torch.equal(unflipped.pred_sem_seg.data, plain.pred_sem_seg.data)  # else the test could not fail


def test_padded_borders_do_not_train(color_regions, images, labels):
    def gradient(padded, loss_decode):
        model = make_model(color_regions, head=dict(loss_decode=loss_decode))
        preprocessor = model.data_preprocessor
        preprocessor.size = (20, 24) if padded else (12, 16)
        preprocessor.pad_val = 7.0  # a colour of its own, so that the border is one region
        data = preprocessor(batch_of(images[:1], labels[:1]), training=True)
        assert data['inputs'].shape[2:] == preprocessor.size
        losses = model(**data, mode='loss')
        partition = model.backbone(data['inputs']).partition
        losses['decode.loss_focal' if 'Focal' in loss_decode['type'] else 'decode.loss_ce'].backward()
        return partition.total_regions, model.decode_head.conv_seg.weight.grad

    regions, plain = gradient(False, dict(type='dht_mm.RegionFocalLoss'))
    more, padded = gradient(True, dict(type='dht_mm.RegionFocalLoss'))
    assert more == regions + 1
    assert torch.allclose(padded, plain, rtol=1e-4, atol=1e-6)
    pixel = dict(type='CrossEntropyLoss', avg_non_ignore=True)
    assert torch.allclose(gradient(True, pixel)[1], gradient(False, pixel)[1], rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_padding_in_testing_is_cut_off(color_regions, images):
    plain, = make_model(color_regions).eval().test_step(batch_of(images[:1]))
    preprocessor = dict(type='mmseg.SegDataPreProcessor', size=(12, 16), pad_val=7.0, test_cfg=dict(size=(20, 24)))
    padded, = make_model(color_regions, data_preprocessor=preprocessor).eval().test_step(batch_of(images[:1]))
    assert torch.allclose(padded.seg_logits.data, plain.seg_logits.data, atol=1e-6)


def test_seg_pad_val_that_is_no_ignored_label_is_refused(color_regions, images, labels):
    model = make_model(color_regions, head=dict(ignore_index=0))
    model.data_preprocessor.size = (20, 24)
    data = model.data_preprocessor(batch_of(images, labels.masked_fill(labels == 255, 0)), training=True)
    with pytest.raises(ValueError, match='ignore_index=0.* got 255'):
        model(**data, mode='loss')


def test_auxiliary_head_reads_an_earlier_block(color_regions, images, labels):
    model = make_model(color_regions, backbone=dict(type=color_regions, blocks=3), head=dict(concat_last=2),
                       auxiliary_head=dict(type='dht_mm.TokenHead', in_channels=8, num_classes=4, in_index=0))
    losses = model(**model.data_preprocessor(batch_of(images, labels), training=True), mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert 'aux.loss_focal' in losses and all(parameter.grad.any() for parameter in model.parameters())
