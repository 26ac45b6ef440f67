"""The token head on the transformer of regions, in mmsegmentation's segmentor."""

import pytest
import torch

pytest.importorskip('mmseg')
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.structures import PixelData  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

TOKENIZERS = [dict(type='dht_mm.DHTTokenizer'), dict(type='dht_mm.GridTokenizer', patch_size=4)]


def make_model(tokenizer, test_cfg=None, decode=None, **backbone):
    torch.manual_seed(0)
    return MODELS.build(ConfigDict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='mmseg.SegDataPreProcessor', size=(20, 24)),
        backbone=dict(type='dht_mm.DHTViT', tokenizer=tokenizer, arch=dict(embed_dims=16, num_layers=2, num_heads=2), img_size=24,
                      patch_size=4, out_indices=(0, 1), out_type='tokens') | backbone,
        decode_head=dict(type='dht_mm.TokenHead', in_channels=16, num_classes=3, classifier='mlp', concat_last=2, decode=decode,
                         loss_image=dict(type='dht_mm.ImageBCELoss')),
        test_cfg=test_cfg or dict(mode='whole')))


@pytest.fixture
def data():
    random = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 5, 6, generator=random).repeat_interleave(4, 2).repeat_interleave(4, 3)
    images += 0.05 * torch.randn(images.shape, generator=random)
    samples = [SegDataSample(metainfo=dict(img_shape=(20, 24), ori_shape=(20, 24)),
                             gt_sem_seg=PixelData(data=(image.sum(0, keepdim=True) > 0).long())) for image in images]
    return dict(inputs=list(images), data_samples=samples)


@pytest.mark.parametrize('tokenizer', TOKENIZERS, ids=['dht', 'grid'])
def test_training_reaches_every_parameter(data, tokenizer):
    model = make_model(tokenizer)
    losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


@torch.no_grad()
@pytest.mark.parametrize('tokenizer', TOKENIZERS, ids=['dht', 'grid'])
def test_a_pixel_of_the_prediction_has_exactly_its_regions_logits(data, tokenizer):
    model = make_model(tokenizer).eval()
    features = model.backbone(torch.stack(data['inputs']))
    expected = features.partition.scatter(model.decode_head.classify(features.tokens))
    assert torch.equal(torch.stack([result.seg_logits.data for result in model.test_step(data)]), expected)
    assert 1 < features.partition.total_regions < expected[:, 0].numel()


@torch.no_grad()
@pytest.mark.parametrize('tokenizer', TOKENIZERS, ids=['dht', 'grid'])
def test_slide_mode_tokenizes_each_crop(data, tokenizer):
    model = make_model(tokenizer, dict(mode='slide', crop_size=(12, 16), stride=(8, 8))).eval()
    results = model.test_step(data)
    assert all(result.seg_logits.shape == (20, 24) and result.seg_logits.data.isfinite().all() for result in results)


@torch.no_grad()
def test_pixels_are_decoded_from_what_tokens_saw(data):
    model = make_model(TOKENIZERS[0], decode=dict(texture=True), features=dict(crop='window', window_size=6)).eval()
    for linear in (model.decode_head.decode.places, model.decode_head.decode.slopes):
        torch.nn.init.normal_(linear.weight)
    tokens = model.backbone(torch.stack(data['inputs']))
    with torch.enable_grad():
        at_once = model.decode_head(tokens)
    torch.testing.assert_close(torch.stack([result.seg_logits.data for result in model.test_step(data)]), at_once)
    assert not torch.allclose(model.decode_head(tokens._replace(boxes=None)), at_once)


def test_an_image_loss_needs_the_class_token(data):
    model = make_model(TOKENIZERS[1], with_cls_token=False)
    with pytest.raises(ValueError, match='loss_image'):
        model(**model.data_preprocessor(data, training=True), mode='loss')
