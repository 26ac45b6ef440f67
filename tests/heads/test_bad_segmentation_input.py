"""Images and label maps at the edge of what a segmentor can be given, for each kind of head."""

import pytest
import torch

pytest.importorskip('mmseg')
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.structures import PixelData  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

from dht_mm.losses import focal_scale, region_targets, soft_focal  # noqa: E402

FCN = dict(type='FCNHead', in_channels=16, channels=8, num_convs=1, num_classes=3, dropout_ratio=0,
           loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True))
NECK = dict(type='dht_mm.TokenToPixel', in_channels=16, strides=(4,))
TOKEN = dict(type='dht_mm.TokenHead', in_channels=16, num_classes=3)
HEADS = dict(
    focal=dict(decode_head=TOKEN | dict(loss_image=dict(type='dht_mm.ImageBCELoss'))),
    cross_entropy=dict(decode_head=TOKEN | dict(loss_decode=dict(type='dht_mm.RegionCrossEntropyLoss'))),
    painted=dict(decode_head=TOKEN | dict(loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True))),
    neck=dict(neck=NECK, decode_head=FCN),
    refined=dict(neck=NECK, decode_head=dict(type='dht_mm.RegionRefineHead', decode_head=FCN)),
)
TOKEN_HEADS = ['focal', 'cross_entropy', 'painted']


def make_model(name, size=(20, 24), pad_val=0.0):
    torch.manual_seed(0)
    return MODELS.build(ConfigDict(
        type='EncoderDecoder', data_preprocessor=dict(type='mmseg.SegDataPreProcessor', size=size, pad_val=pad_val),
        backbone=dict(type='dht_mm.DHTViT', arch=dict(embed_dims=16, num_layers=1, num_heads=2), img_size=24, patch_size=4,
                      out_type='tokens'), test_cfg=dict(mode='whole'), **HEADS[name]))


def batch_of(images, labels):
    return dict(inputs=list(images), data_samples=[SegDataSample(
        metainfo=dict(img_shape=image.shape[1:], ori_shape=image.shape[1:]), gt_sem_seg=PixelData(data=one[None]))
        for image, one in zip(images, labels, strict=True)])


def train(model, images, labels):
    losses = model.train()(**model.data_preprocessor(batch_of(images, labels), training=True), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
    return total


@pytest.fixture
def images():
    return torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0)).repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.fixture
def labels():
    return torch.randint(0, 3, (2, 20, 24), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('name', HEADS)
def test_images_of_one_region_train_and_predict(name, labels):
    model = make_model(name)
    plain = torch.zeros(2, 3, 20, 24)
    assert model.backbone.eval()(plain).partition.num_regions.tolist() == [1, 1]
    assert train(model, plain, labels) > 0
    with torch.no_grad():
        assert all(result.pred_sem_seg.shape == (20, 24) for result in model.eval().test_step(batch_of(plain, labels)))


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('only', [0, 2])
def test_classes_missing_everywhere_train(name, images, labels, only):
    assert train(make_model(name), images, torch.full_like(labels, only)) > 0


@pytest.mark.parametrize('name', HEADS)
def test_ignored_pixels_only_train_nothing(name, images, labels):
    model = make_model(name)
    assert train(model, images, torch.full_like(labels, 255)) == 0
    assert not any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize('name', HEADS)
def test_one_ignored_image_beside_another(name, images, labels):
    labels[0] = 255
    assert train(make_model(name), images, labels) > 0


@pytest.mark.parametrize('name', TOKEN_HEADS)
def test_token_heads_refuse_label_maps_of_another_size(name, images, labels):
    batch = make_model(name).data_preprocessor(batch_of(images, labels), training=True)
    batch['data_samples'][1] = SegDataSample(gt_sem_seg=PixelData(data=labels[1:, :10]))
    with pytest.raises(ValueError, match=r'gt_sem_seg.*\(20, 24\).*\(10, 24\)'):
        make_model(name)(**batch, mode='loss')


@pytest.mark.parametrize('name', TOKEN_HEADS)
@pytest.mark.parametrize('value', [3, 254, -1])
def test_token_heads_refuse_labels_out_of_range(name, images, labels, value):
    labels[1, 3, 4] = value
    with pytest.raises(ValueError, match=f'labels.* got {value}'):
        train(make_model(name), images, labels)


@pytest.mark.parametrize('name', HEADS)
def test_what_lies_in_ignored_borders_has_no_loss(name, images, labels):
    """Images of differing sizes are padded to one; labels of the padding are ignored, and other ones there would count."""
    model = make_model(name, (32, 40), pad_val=7.0)
    smaller = [images[0], images[1][:, :16, :20]], [labels[0], labels[1][:16, :20]]
    data = model.data_preprocessor(batch_of(*smaller), training=True)
    assert all((sample.gt_sem_seg.data[:, 20:] == 255).all() for sample in data['data_samples'])
    logits = model(data['inputs'], mode='tensor').detach()
    painted = torch.nn.functional.interpolate(logits, (32, 40), mode='bilinear')
    known = torch.stack([sample.gt_sem_seg.data[0] for sample in data['data_samples']])
    losses = model(**data, mode='loss')
    if name != 'focal':  # the mean over pixels; that over regions is below
        assert torch.allclose(losses['decode.loss_ce'], torch.nn.functional.cross_entropy(painted, known, ignore_index=255), rtol=1e-4)
    model.parse_losses(losses)[0].backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


def test_regions_of_padding_are_not_in_the_focal_mean(images, labels):
    """A region of padding alone has no class: the loss is the mean over the others, whatever their number."""
    model = make_model('focal', (32, 40), pad_val=7.0)
    data = model.data_preprocessor(batch_of(images, labels), training=True)
    known = torch.stack([sample.gt_sem_seg.data[0] for sample in data['data_samples']])
    features = model.backbone(data['inputs'])
    targets = region_targets(features.partition, known, 3)
    inside = torch.cat([one[one != -1].unique() for one in features.partition.packed_labels.masked_fill(known == 255, -1)])
    assert 0 < len(inside) < len(targets) and torch.equal(targets.any(1).nonzero()[:, 0], inside)
    each = soft_focal(model.decode_head.classify(features.tokens), targets, torch.ones(3), 4.0)
    assert torch.allclose(model(**data, mode='loss')['decode.loss_focal'], focal_scale(4.0) * each[inside].mean())
