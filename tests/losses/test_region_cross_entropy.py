"""Cross entropy of pixels from regions, against torch's on the painted map."""

import pytest
import torch
import torch.nn.functional as F

from dht_mm.losses import RegionCrossEntropyLoss


def random_logits(rows, dtype=torch.float64):
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(1), dtype=dtype, requires_grad=True)


@pytest.mark.parametrize('class_weight', [None, [0.5, 2.0, 0.0, 1.0, 3.0]])
@pytest.mark.parametrize('ignore_index', [255, 2])
def test_loss_and_gradient_are_those_of_the_painted_map(scene, class_weight, ignore_index):
    partition, labels = scene
    labels = labels.masked_fill(labels == 255, ignore_index)
    logits = random_logits(partition.total_regions)
    weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float64)
    expected = F.cross_entropy(partition.scatter(logits), labels, weight, ignore_index=ignore_index)
    loss = RegionCrossEntropyLoss(class_weight=class_weight)(logits, labels, partition, ignore_index)
    assert torch.allclose(loss, expected, rtol=1e-12)
    gradients = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (loss, expected)]
    assert gradients[0].any() and torch.allclose(*gradients, atol=1e-14)


def test_hand_computed(partition_of):
    """Two pixels of one region with probabilities 1/4 and 3/4 of their classes, one ignored."""
    partition = partition_of([[[0, 0, 1]]])
    logits = torch.tensor([[0.0, 3.0], [9.0, -9.0]])
    logits[0, 1] = torch.tensor(3.0).log()
    loss = RegionCrossEntropyLoss(loss_weight=2.0)(logits, torch.tensor([[[0, 1, 255]]]), partition)
    assert loss.item() == pytest.approx(-(torch.tensor(0.25 * 0.75).log()).item())


def test_ignored_pixels_only_give_zero(scene):
    partition, labels = scene
    logits = random_logits(partition.total_regions)
    loss = RegionCrossEntropyLoss()(logits, torch.full_like(labels, 255), partition)
    loss.backward()
    assert loss == 0 and not logits.grad.any()


def test_devices_agree(scene, device):
    partition, labels = scene
    logits = random_logits(partition.total_regions, torch.float32).detach()
    loss = RegionCrossEntropyLoss(class_weight=[1.0, 2.0, 3.0, 4.0, 5.0]).to(device)
    there = loss(logits.to(device), labels.to(device), partition.to(device))
    assert there.device.type == device and torch.allclose(there.cpu(), loss.cpu()(logits, labels, partition), rtol=1e-5)


def test_half_precision_logits_give_a_float32_loss(scene):
    partition, labels = scene
    logits = random_logits(partition.total_regions, torch.float32)
    half = RegionCrossEntropyLoss()(logits.bfloat16(), labels, partition)
    assert half.dtype == torch.float32 and torch.allclose(half, RegionCrossEntropyLoss()(logits, labels, partition), rtol=0.02)


def test_refuses_what_does_not_fit(scene):
    partition, labels = scene
    logits = random_logits(partition.total_regions)
    loss = RegionCrossEntropyLoss()
    with pytest.raises(ValueError, match='logits'):
        loss(logits[1:], labels, partition)
    with pytest.raises(ValueError, match=r'labels.*\(3, 6, 7\).*\(3, 6, 6\)'):
        loss(logits, labels[:, :, 1:], partition)
    with pytest.raises(ValueError, match='labels.* got 5'):
        loss(logits, labels.masked_fill(labels == 0, 5), partition)
    with pytest.raises(ValueError, match='class_weight'):
        RegionCrossEntropyLoss(class_weight=[1.0])(logits, labels, partition)
    with pytest.raises(ValueError, match='class_weight'):
        RegionCrossEntropyLoss(class_weight=[-1.0] * 5)
