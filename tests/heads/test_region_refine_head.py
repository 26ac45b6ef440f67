"""Logits of a decode head averaged over the regions."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('mmseg')
from mmengine.structures import PixelData  # noqa: E402
from mmseg.models import CrossEntropyLoss  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

from dht_mm.heads import average_over_regions  # noqa: E402
from dht_mm.structures import RegionMaps  # noqa: E402

FCN = dict(type='FCNHead', in_channels=8, channels=6, num_convs=1, num_classes=4, dropout_ratio=0)


def make_head(**settings):
    torch.manual_seed(0)
    return MODELS.build(dict(type='dht_mm.RegionRefineHead', decode_head=FCN | settings))


@pytest.fixture
def maps(color_regions, images):
    features = color_regions()(images)
    return RegionMaps([features.partition.scatter(features.tokens[0])[:, :, ::2, ::2]], features.partition)


@pytest.mark.parametrize('align_corners', [False, True])
def test_each_pixel_has_the_mean_of_its_regions_upsampled_logits(maps, align_corners):
    head = make_head(align_corners=align_corners)
    upsampled = F.interpolate(head.head(maps), (12, 16), mode='bilinear', align_corners=align_corners)
    logits, partition = head(maps), maps.partition
    for image in range(2):
        for region in range(int(partition.num_regions[image])):
            inside = partition.labels[image] == region
            mean = upsampled[image][:, inside].mean(1, keepdim=True)
            assert torch.allclose(logits[image][:, inside], mean.expand(-1, int(inside.sum())), atol=1e-6)
    assert torch.equal(head.predict(maps, [{}] * 2), logits)


def test_logits_that_are_constant_on_regions_stay(maps):
    painted = maps.partition.scatter(torch.randn(maps.partition.total_regions, 4))
    assert torch.allclose(average_over_regions(painted, maps.partition), painted, atol=1e-6)


def test_gradient_is_that_of_the_mean(maps):
    logits = torch.randn(2, 4, 6, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: average_over_regions(x, maps.partition), logits, fast_mode=True)


def test_loss_is_the_heads_own_of_the_averaged_logits(maps, labels):
    head = make_head(loss_decode=[dict(type='CrossEntropyLoss'), dict(type='DiceLoss', loss_weight=2.0)])
    losses = head.loss(maps, [SegDataSample(gt_sem_seg=PixelData(data=one[None])) for one in labels])
    assert losses.keys() == {'loss_ce', 'loss_dice', 'acc_seg'}
    assert torch.allclose(losses['loss_ce'], CrossEntropyLoss()(head(maps), labels, ignore_index=255))
    (losses['loss_ce'] + losses['loss_dice']).backward()
    assert all(parameter.grad.any() for parameter in head.parameters())


def test_half_precision(maps):
    with torch.autocast('cpu', torch.bfloat16):
        half = make_head()(maps)
    assert torch.allclose(half.float(), make_head()(maps), atol=0.02)


def test_segmentors_read_the_wrapped_heads_settings():
    head = make_head(num_classes=2, out_channels=1, threshold=0.4, align_corners=True)
    assert (head.num_classes, head.out_channels, head.threshold, head.align_corners) == (2, 1, 0.4, True)


def test_refuses_maps_without_regions(maps):
    with pytest.raises(TypeError, match='TokenToPixel.* got tuple'):
        make_head()(tuple(maps))


def test_refuses_a_head_of_several_outputs(maps):
    head = make_head()
    head.head.forward = lambda inputs: (inputs[0], inputs[0])
    with pytest.raises(TypeError, match='FCNHead gives tuple'):
        head(maps)
