"""Decode heads of mmsegmentation on region tokens by way of the neck: nothing of them changes."""

import pytest
import torch

pytest.importorskip('mmseg')
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.model import revert_sync_batchnorm  # noqa: E402
from mmengine.structures import PixelData  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

SIZE = (64, 96)
DIMS, CLASSES = 32, 5
PYRAMID = dict(strides=(4, 8, 16, 32), out_channels=(8, 12, 16, 20))
ALL = dict(in_channels=[8, 12, 16, 20], in_index=[0, 1, 2, 3])
DILATED = dict(strides=(4, 8, 8, 8), out_channels=(8, None, None, 20))
GRID = dict(strides=(16,))

HEADS = dict(
    uper=(PYRAMID, dict(type='UPerHead', **ALL, pool_scales=(1, 2), channels=16)),
    segformer=(PYRAMID, dict(type='SegformerHead', **ALL, channels=16)),
    fcn=(dict(strides=(4, 8, 8, 8), out_channels=(None, None, None, 20)), dict(type='FCNHead', in_channels=20, in_index=3,
             channels=16, num_convs=1)),
    deeplabv3plus=(DILATED, dict(type='DepthwiseSeparableASPPHead', in_channels=20, in_index=3, channels=16, dilations=(1, 2),
                                 c1_in_channels=8, c1_channels=6)),
    segmenter=(GRID, dict(type='SegmenterMaskTransformerHead', in_channels=DIMS, in_index=-1, channels=DIMS, num_layers=1,
                          num_heads=2, embed_dims=DIMS, norm_cfg=dict(type='LN'))),
    setr_pup=(GRID, dict(type='SETRUPHead', in_channels=DIMS, in_index=0, channels=16, num_convs=2, up_scale=2, kernel_size=3)),
)


def make_model(neck, head, out_indices=-1, wrapped=False, **settings):
    torch.manual_seed(0)
    head = dict(num_classes=CLASSES, norm_cfg=dict(type='BN'), align_corners=False) | head
    head = dict(type='dht_mm.RegionRefineHead', decode_head=head) if wrapped else head
    return revert_sync_batchnorm(MODELS.build(ConfigDict(dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='mmseg.SegDataPreProcessor', size=SIZE),
        backbone=dict(type='dht_mm.DHTViT', arch=dict(embed_dims=DIMS, num_layers=4, num_heads=2), img_size=96, out_type='tokens',
                      out_indices=out_indices),
        neck=neck, decode_head=head, test_cfg=dict(mode='whole')) | settings)))


def neck_of(settings):
    return dict(type='dht_mm.TokenToPixel', in_channels=DIMS, **settings)


@pytest.fixture
def data():
    random = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 8, 12, generator=random).repeat_interleave(8, 2).repeat_interleave(8, 3)
    images += 0.05 * torch.randn(images.shape, generator=random)
    samples = [SegDataSample(metainfo=dict(img_shape=SIZE, ori_shape=SIZE), gt_sem_seg=PixelData(
        data=torch.randint(0, CLASSES, (1, *SIZE), generator=random))) for _ in images]
    return dict(inputs=list(images), data_samples=samples)


def train(model, data):
    losses = model.train()(**model.data_preprocessor(data, training=True), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    return losses


def assert_all_learn(model):
    assert not [name for name, value in model.named_parameters() if value.grad is None or not value.grad.isfinite().all()]


@torch.no_grad()
def predict(model, data, **test_cfg):
    model.test_cfg = ConfigDict(test_cfg or dict(mode='whole'))
    results = model.eval().test_step(data)
    assert all(result.pred_sem_seg.shape == SIZE and result.seg_logits.data.isfinite().all() for result in results)
    return torch.stack([result.seg_logits.data for result in results])


@pytest.mark.parametrize(('name', 'out_indices'), [(name, -1) for name in HEADS] + [
    (name, (0, 1, 2, 3)) for name, (neck, _) in HEADS.items() if len(neck['strides']) == 4])
@pytest.mark.parametrize('wrapped', [False, True], ids=['plain', 'refined'])
def test_head_trains_and_predicts(data, name, out_indices, wrapped):
    neck, head = HEADS[name]
    model = make_model(neck_of(neck), head, out_indices, wrapped)
    train(model, data)
    assert_all_learn(model)
    assert model.backbone.embedding.patch_embed.weight.grad.any()
    logits = predict(model, data)
    assert logits.shape == (2, CLASSES, *SIZE)
    assert predict(model, data, mode='slide', crop_size=(48, 64), stride=(16, 32)).shape == logits.shape
    if wrapped:
        partition = model.backbone(torch.stack(data['inputs'])).partition
        first = partition.pool(logits)
        assert torch.allclose(partition.scatter(first), logits, atol=1e-5) and 2 < partition.total_regions < 2 * 64 * 96


def test_simple_feature_pyramid_from_the_last_map(data):
    """As in ViTDet: one map of stride 16, scaled to four, then a feature pyramid, all of mmsegmentation."""
    neck = [neck_of(dict(strides=(16, 16, 16, 16))), dict(type='Feature2Pyramid', embed_dim=DIMS, norm_cfg=dict(type='BN')),
            dict(type='FPN', in_channels=[DIMS] * 4, out_channels=16, num_outs=4)]
    model = make_model(neck, dict(type='FPNHead', in_channels=[16] * 4, in_index=[0, 1, 2, 3], feature_strides=[4, 8, 16, 32], channels=16))
    train(model, data)
    assert_all_learn(model)
    predict(model, data)


def test_an_auxiliary_head_reads_another_level(data):
    aux = dict(type='FCNHead', in_channels=16, in_index=2, channels=8, num_convs=1, num_classes=CLASSES, norm_cfg=dict(type='BN'))
    model = make_model(neck_of(PYRAMID), HEADS['uper'][1], (0, 1, 2, 3), wrapped=True, auxiliary_head=aux)
    assert {'decode.loss_ce', 'aux.loss_ce'} <= train(model, data).keys()
    assert_all_learn(model)
