"""A partition of a fixed length trains a token head as the packed one does: its rows of no region count nowhere."""

import pytest
import torch

pytest.importorskip('mmseg')
from mmengine.structures import PixelData  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

HEADS = {
    'focal': dict(loss_decode=dict(type='dht_mm.RegionFocalLoss', class_weight=[1.0, 2, 0.5, 1])),
    'cross entropy': dict(loss_decode=dict(type='dht_mm.RegionCrossEntropyLoss', class_weight=[1.0, 2, 0.5, 1])),
    'pixels': dict(loss_decode=[dict(type='CrossEntropyLoss', avg_non_ignore=True), dict(type='DiceLoss')]),
    'decode': dict(decode=dict(places=2)),
}


def losses_and_gradients(capacity, settings, images, labels, device):
    torch.manual_seed(0)
    tokenizer = dict(type='dht_mm.DHTTokenizer', capacity=capacity, token_budget=dict(mode='hard', train=30))
    model = MODELS.build(dict(
        type='EncoderDecoder', backbone=dict(
            type='dht_mm.DHTViT', arch=dict(embed_dims=16, num_layers=1, num_heads=2), img_size=32, out_type='tokens', tokenizer=tokenizer),
        decode_head=dict(type='dht_mm.TokenHead', in_channels=16, num_classes=4, loss_image=dict(type='dht_mm.ImageBCELoss')) | settings))
    model = model.to(device).train()
    torch.nn.init.normal_(model.decode_head.conv_seg.bias)  # what a row of no region would do if it counted shows
    features = model.extract_feat(images.to(device))
    samples = [SegDataSample(gt_sem_seg=PixelData(data=one[None].to(device))) for one in labels]
    losses = model.decode_head.loss(features, samples)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    return losses, {name: value.grad for name, value in model.named_parameters()}, features.partition


@pytest.mark.parametrize('name', HEADS)
def test_losses_and_gradients_are_those_of_the_packed_form(name, device):
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.interpolate(torch.randn(2, 3, 8, 8, generator=generator), scale_factor=4, mode='bicubic')
    images[1] = images[1, :, :1, :1]  # of one region, so that there are rows of none
    labels = torch.randint(0, 4, (2, 32, 32), generator=generator).masked_fill(torch.arange(32) < 4, 255)
    (packed, gradients, _), (fixed, others, partition) = (
        losses_and_gradients(capacity, HEADS[name], images, labels, device) for capacity in (None, 2 * 32 * 32))
    assert (partition.size == 0).sum() > 20
    torch.testing.assert_close(fixed, packed)
    for key, gradient in gradients.items():
        torch.testing.assert_close(others[key], gradient, atol=1e-5, rtol=1e-4, msg=key)
