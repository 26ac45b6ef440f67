"""The segmentor in mmsegmentation's own modes: whole, slide, padded, resized, augmented."""

import pytest
import torch

pytest.importorskip('mmseg')
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.evaluator import Evaluator  # noqa: E402
from mmengine.structures import PixelData  # noqa: E402
from mmseg.models import SegTTAModel  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

UPER = dict(type='UPerHead', in_channels=[8] * 4, in_index=[0, 1, 2, 3], pool_scales=(1, 2), channels=8, num_classes=4)
TOKENS = dict(decode_head=dict(type='dht_mm.TokenHead', in_channels=16, num_classes=4))
DECODED = dict(decode_head=TOKENS['decode_head'] | dict(decode=dict(places=2)))
MAPS = dict(neck=dict(type='dht_mm.TokenToPixel', in_channels=16, out_channels=8), decode_head=UPER)
REFINED = MAPS | dict(decode_head=dict(type='dht_mm.RegionRefineHead', decode_head=UPER))


def make_model(parts, **settings):
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(dict(
        type='dht_mm.RegionSegmentor', data_preprocessor=dict(type='mmseg.SegDataPreProcessor', size=(32, 48)),
        backbone=dict(type='dht_mm.DHTViT', arch=dict(embed_dims=16, num_layers=1, num_heads=2), img_size=48, out_type='tokens'),
        test_cfg=dict(mode='whole')) | parts | settings))
    head = getattr(model.decode_head, 'head', model.decode_head)
    torch.nn.init.normal_(head.conv_seg.weight)
    if getattr(head, 'decode', None) is not None:
        torch.nn.init.normal_(head.decode.places.weight)
        torch.nn.init.normal_(head.decode.slopes.weight)
    return model.eval()


@pytest.fixture
def images():
    blocks = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    return blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)


def batch_of(images, **meta):
    samples = [SegDataSample(metainfo=dict(img_shape=image.shape[1:], ori_shape=image.shape[1:], img_path='image') | meta)
               for image in images]
    return dict(inputs=list(images), data_samples=samples)


@torch.no_grad()
@pytest.mark.parametrize('parts', [TOKENS, DECODED, MAPS, REFINED], ids=['tokens', 'decoded', 'maps', 'refined'])
def test_whole_mode_tells_the_regions_and_predicts_as_mmseg_does(images, parts):
    model = make_model(parts)
    partition = model.backbone(images).partition
    stock = make_model(parts, type='EncoderDecoder')
    results = model.test_step(batch_of(images))
    for result, labels, expected in zip(results, partition.labels, stock.test_step(batch_of(images)), strict=True):
        assert torch.equal(result.pred_regions.data[0], labels.long()) and result.pred_regions.data.dtype == torch.int64
        assert torch.allclose(result.seg_logits.data, expected.seg_logits.data, atol=1e-6)
        assert torch.equal(result.pred_sem_seg.data, expected.pred_sem_seg.data)
    assert partition.total_regions > 20


@torch.no_grad()
@pytest.mark.parametrize('parts', [TOKENS, REFINED], ids=['tokens', 'refined'])
@pytest.mark.parametrize('shape', [(64, 96), (50, 61), (16, 24)])
def test_regions_keep_one_class_each_at_any_size(images, parts, shape):
    for result in make_model(parts).test_step(batch_of(images, ori_shape=shape)):
        assert result.pred_sem_seg.shape == result.pred_regions.shape == result.seg_logits.shape == shape
        regions, classes = result.pred_regions.data.flatten(), result.pred_sem_seg.data.flatten()
        assert all(len(classes[regions == region].unique()) == 1 for region in regions.unique())
        assert len(classes.unique()) > 1


@torch.no_grad()
def test_padding_is_in_no_map(images):
    preprocessor = dict(type='mmseg.SegDataPreProcessor', size=(32, 48), test_cfg=dict(size=(40, 64)), pad_val=9.0)
    model = make_model(TOKENS, data_preprocessor=preprocessor)
    padded = model.backbone(model.data_preprocessor(batch_of(images))['inputs']).partition.labels
    assert padded.shape == (2, 40, 64)
    for result, labels in zip(model.test_step(batch_of(images)), padded, strict=True):
        assert torch.equal(result.pred_regions.data[0], labels[:32, :48].long())
        assert result.pred_sem_seg.shape == (32, 48)


@torch.no_grad()
def test_slide_mode_has_no_map_of_regions(images):
    model = make_model(REFINED, test_cfg=dict(mode='slide', crop_size=(24, 32), stride=(8, 16)))
    results = model.test_step(batch_of(images))
    assert all('pred_regions' not in result and result.pred_sem_seg.shape == (32, 48) for result in results)
    evaluator = Evaluator([dict(type='dht_mm.RegionOracle')])
    evaluator.dataset_meta = dict(classes='abcd')
    results[0].gt_sem_seg = results[0].pred_sem_seg
    with pytest.raises(ValueError, match='whole'):
        evaluator.process(results[:1], {})


@torch.no_grad()
@pytest.mark.parametrize('crop, stride', [((24, 32), (8, 16)), ((24, 32), (13, 7)), ((64, 64), (8, 8)), ((32, 20), (5, 20))])
def test_slide_mode_gives_the_logits_of_mmseg_bit_for_bit(images, crop, stride):
    settings = dict(test_cfg=dict(mode='slide', crop_size=crop, stride=stride))
    for parts in (TOKENS, MAPS):
        own, stock = make_model(parts, **settings), make_model(parts, type='EncoderDecoder', **settings)
        for result, expected in zip(own.test_step(batch_of(images)), stock.test_step(batch_of(images)), strict=True):
            assert torch.equal(result.seg_logits.data, expected.seg_logits.data)


@torch.no_grad()
@pytest.mark.parametrize('parts', [TOKENS, DECODED, REFINED], ids=['tokens', 'decoded', 'refined'])
@pytest.mark.parametrize('mode', [dict(mode='whole'), dict(mode='slide', crop_size=(24, 32), stride=(13, 7))], ids=['whole', 'slide'])
def test_classes_without_logits_are_the_same(images, parts, mode):
    batches = [batch_of(images, ori_shape=(50, 61), flip=True, flip_direction='horizontal') for _ in range(2)]
    bare, full = (make_model(parts, test_cfg=mode | dict(seg_logits=wanted)).test_step(batch)
                  for wanted, batch in zip((False, True), batches, strict=True))
    for one, other in zip(bare, full, strict=True):
        assert 'seg_logits' not in one and torch.equal(one.pred_sem_seg.data, other.pred_sem_seg.data)
        assert one.pred_sem_seg.data.dtype == torch.int64 and ('pred_regions' in one) == (mode['mode'] == 'whole')


@torch.no_grad()
def test_oracle_of_labels_that_are_constant_on_regions_is_perfect(images):
    results = make_model(TOKENS).test_step(batch_of(images, ori_shape=(64, 96)))
    for result in results:
        result.gt_sem_seg = PixelData(data=result.pred_sem_seg.data.clone())
    evaluator = Evaluator([dict(type=f'dht_mm.{name}') for name in ('RegionOracle', 'BoundaryIoU', 'TrimapIoU')])
    evaluator.dataset_meta = dict(classes='abcd')
    evaluator.process(results, {})
    scores = evaluator.evaluate(2)
    number = sum(len(result.pred_regions.data.unique()) for result in results) / 2
    assert scores.pop('regions/per_image') == number and set(scores.values()) == {100.0}


@torch.no_grad()
def test_prediction_without_samples_and_binary_output(images):
    model = make_model(dict(decode_head=TOKENS['decode_head'] | dict(
        num_classes=2, out_channels=1, threshold=0.5, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True))))
    results = model(images, mode='predict')
    expected = model(images, mode='tensor').sigmoid()
    for result, one in zip(results, expected, strict=True):
        assert torch.equal(result.seg_logits.data, one) and torch.equal(result.pred_sem_seg.data, (one > 0.5).float())


@torch.no_grad()
def test_test_time_augmentation_merges_views_of_any_size(images):
    model = make_model(TOKENS, data_preprocessor=dict(type='mmseg.SegDataPreProcessor'))
    larger = images[:1].repeat_interleave(2, 2).repeat_interleave(2, 3)
    views = [batch_of(images[:1]), batch_of(larger, ori_shape=(32, 48)),
             batch_of(images[:1].flip(3), flip=True, flip_direction='horizontal')]
    merged, = SegTTAModel(module=model).test_step({key: [view[key] for view in views] for key in ('inputs', 'data_samples')})
    assert merged.pred_sem_seg.shape == (32, 48)


def test_training_is_that_of_mmseg(images):
    labels = torch.randint(0, 4, (2, 1, 32, 48), generator=torch.Generator().manual_seed(0))
    losses = []
    for kind in ('dht_mm.RegionSegmentor', 'EncoderDecoder'):
        model = make_model(REFINED, type=kind)
        batch = batch_of(images)
        for sample, one in zip(batch['data_samples'], labels, strict=True):
            sample.gt_sem_seg = PixelData(data=one)
        losses.append(model(**model.data_preprocessor(batch, training=True), mode='loss'))
    assert losses[0].keys() == losses[1].keys() and torch.equal(losses[0]['decode.loss_ce'], losses[1]['decode.loss_ce'])
