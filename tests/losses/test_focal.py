"""Focal loss of regions."""

import math

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS as ROOT

from dht_mm.losses import RegionFocalLoss, focal_scale, region_targets, soft_focal
from dht_mm.structures import Partition


def random_logits(rows, classes=5, dtype=torch.float32):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(1), dtype=dtype, requires_grad=True)


def test_golden_loss_and_gradient(shared):
    golden = np.load(shared / 'golden' / 'losses_96x160.npz')
    seg, labels = (torch.tensor(golden[name])[None] for name in ('seg', 'labels'))
    logits = torch.tensor(golden['region_logits'], requires_grad=True)
    loss = RegionFocalLoss(gamma=4.0)(logits, labels, Partition.from_labels(seg, torch.zeros(1, 1, 96, 160)), ignore_index=0)
    assert abs(loss.item() - golden['focal_loss']) < 1e-5
    assert abs(loss.item() - golden['dense_loss']) < 1e-5
    grad, = torch.autograd.grad(loss, logits)
    assert (grad - torch.tensor(golden['focal_grad'])).abs().max() < 1e-7


@pytest.mark.parametrize('gamma', [0, 1, 4, 7])
def test_scale_of_an_integer_gamma_is_the_harmonic_number(gamma):
    assert focal_scale(gamma) == pytest.approx((gamma + 1) / sum(1 / i for i in range(1, gamma + 2)), rel=1e-12)


@pytest.mark.parametrize('gamma', [0.3, 1.5, 4.25])
def test_scale_undoes_the_mean_shrinking(gamma):
    u = torch.linspace(0, 60, 600_001, dtype=torch.float64)  # p = exp(-u)
    mean = torch.trapezoid((-torch.expm1(-u)).pow(gamma) * u * (-u).exp(), u)
    assert focal_scale(gamma) * mean.item() == pytest.approx(1, rel=1e-8)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0, 4.0])
def test_equals_the_formula(scene, gamma):
    partition, labels = scene
    logits, weight = random_logits(partition.total_regions), torch.tensor([1.0, 2, 0.5, 0, 3])
    loss = RegionFocalLoss(gamma, class_weight=weight.tolist())(logits, labels, partition)
    total, targets = 0, region_targets(partition, labels, 5)
    for row, target in zip(logits.softmax(1), targets, strict=True):
        entropy = -sum(t * w * p.log() for t, w, p in zip(target, weight, row, strict=True))
        total += (1 - row[target.argmax()]) ** gamma * entropy
    assert torch.allclose(loss, focal_scale(gamma) * total / targets.any(1).sum(), rtol=1e-5)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 4.0])
def test_gradcheck_through_the_factor(scene, gamma):
    partition, labels = scene
    targets = region_targets(partition, labels, 5).double()
    logits = random_logits(len(targets), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: soft_focal(z, targets, torch.ones(5).double(), gamma), logits)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 4.0])
@pytest.mark.parametrize('size', [100.0, 1e4])
def test_certain_logits_keep_loss_and_gradient_finite(partition_of, gamma, size):
    partition, labels = partition_of([[[0, 0, 1, 2]]]), torch.tensor([[[0, 1, 0, 1]]])
    logits = (size * torch.tensor([[1.0, -1], [1, -1], [1, -1]])).requires_grad_()
    loss = RegionFocalLoss(gamma)(logits, labels, partition)
    grad, = torch.autograd.grad(loss, logits)
    assert loss.isfinite() and grad.isfinite().all() and grad[2].abs().sum() > 0


def test_regions_of_ignored_pixels_only_do_not_train(partition_of):
    partition = partition_of([[[0, 0, 1, 1], [2, 2, 1, 1]]])
    labels = torch.tensor([[[0, 1, 255, 255], [1, 1, 255, 255]]])
    loss, logits = RegionFocalLoss(), random_logits(3, 2)
    value = loss(logits, labels, partition)
    grad, = torch.autograd.grad(value, logits)
    assert not grad[1].any() and grad[[0, 2]].any(1).all()
    changed = logits.detach().clone()
    changed[1] = torch.tensor([50.0, -50])
    assert torch.equal(loss(changed, labels, partition), value)


def test_padded_borders_leave_the_loss_as_it_is(partition_of):
    """Rows of padding below an image, cut into two regions: the same value, and the same gradient for the image's own regions."""
    bare, padded = partition_of([[[0, 0, 1, 1]]]), partition_of([[[0, 0, 1, 1], [2, 2, 2, 3]]])
    labels, logits = torch.tensor([[[0, 1, 1, 1]]]), random_logits(4, 2)
    values = [RegionFocalLoss()(logits[:2], labels, bare),
              RegionFocalLoss()(logits, torch.nn.functional.pad(labels, (0, 0, 0, 1), value=255), padded)]
    alone, beside = (torch.autograd.grad(value, logits)[0] for value in values)
    assert torch.equal(*values) and torch.equal(alone, beside) and values[0] > 0


@pytest.mark.parametrize('ignore_index', [0, 255])
def test_an_image_of_ignored_pixels_only_gives_no_gradient(partition_of, ignore_index):
    partition = partition_of([[[0, 0, 1, 1]]])
    logits = random_logits(2)
    loss = RegionFocalLoss()(logits, torch.full((1, 1, 4), ignore_index), partition, ignore_index)
    grad, = torch.autograd.grad(loss, logits)
    assert loss == 0 and not grad.any()


def test_an_ignored_class_weighs_nothing_but_may_be_the_largest(partition_of):
    partition, labels = partition_of([[[0, 0, 0, 1]]]), torch.tensor([[[0, 0, 1, 1]]])
    logits = torch.tensor([[1.0, 0, 0], [0, 0, 0]], requires_grad=True)
    # Region 0: overlap 2/3 with the ignored class, 1/4 with class 1; region 1: class 1 only.
    p = logits.detach().softmax(1)
    expected = (1 - p[0, 0]) * (3 / 11) * -p[0, 1].log() + (1 - p[1, 1]) * -p[1, 1].log()
    loss = RegionFocalLoss(gamma=1.0)(logits, labels, partition, ignore_index=0)
    assert torch.allclose(loss, expected / 2 * 4 / 3)


def test_a_class_of_weight_zero_is_not_learned(partition_of):
    partition, labels = partition_of([[[0, 0, 1, 1]]]), torch.tensor([[[0, 0, 1, 1]]])
    logits = random_logits(2)
    grad, = torch.autograd.grad(RegionFocalLoss(class_weight=[0, 1, 1, 1, 1])(logits, labels, partition), logits)
    assert not grad[0].any() and grad[1].any()


def test_one_region_and_missing_classes_are_fine(partition_of):
    partition = partition_of([[[0, 0], [0, 0]]])
    assert RegionFocalLoss()(random_logits(1), torch.full((1, 2, 2), 3), partition).isfinite()


def test_half_precision_logits_give_a_float32_loss(scene):
    partition, labels = scene
    logits = random_logits(partition.total_regions).detach().bfloat16()
    loss = RegionFocalLoss()(logits, labels, partition)
    assert loss.dtype == torch.float32 and loss == RegionFocalLoss()(logits.float(), labels, partition)


def test_loss_weight_scales_and_a_config_builds_it(scene):
    partition, labels = scene
    logits = random_logits(partition.total_regions)
    built = ROOT.build(dict(type='dht_mm.RegionFocalLoss', gamma=2.0, loss_weight=0.5, class_weight=[1, 1, 1, 1, 2]))
    plain = RegionFocalLoss(2.0, class_weight=[1, 1, 1, 1, 2])
    assert torch.equal(2 * built(logits, labels, partition), plain(logits, labels, partition))
    assert not built.state_dict()  # the class weights are settings, not state


@pytest.mark.parametrize('gamma', [-1.0, math.inf, math.nan])
def test_refuses_a_gamma_without_meaning(gamma):
    with pytest.raises(ValueError, match='gamma'):
        RegionFocalLoss(gamma)


def test_refuses_what_does_not_fit(scene):
    partition, labels = scene
    with pytest.raises(ValueError, match='logits'):
        RegionFocalLoss()(random_logits(3), labels, partition)
    with pytest.raises(ValueError, match='class_weight'):
        RegionFocalLoss(class_weight=[1, 2])(random_logits(partition.total_regions), labels, partition)
    with pytest.raises(ValueError, match='class_weight'):
        RegionFocalLoss(class_weight=[1, -2])
