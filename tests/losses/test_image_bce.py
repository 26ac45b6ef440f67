"""Image-level loss of the class token."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS as ROOT

from dht_mm.losses import ImageBCELoss, image_targets


def test_golden(shared):
    golden = np.load(shared / 'golden' / 'losses_96x160.npz')
    loss = ImageBCELoss(power=0.25)(torch.tensor(golden['image_logits']), torch.tensor(golden['labels'])[None], ignore_index=0)
    assert abs(loss.item() - golden['image_loss']) < 1e-6


def test_targets_by_hand():
    counts = torch.tensor([[16, 1, 0], [0, 5, 0], [0, 0, 0]])
    assert torch.allclose(image_targets(counts, 0.25), torch.tensor([[2 / 3, 1 / 3, 0], [0, 1, 0], [0, 0, 0]]))
    assert torch.allclose(image_targets(counts, 0.0)[0], torch.tensor([0.5, 0.5, 0]))  # an absent class stays absent
    assert torch.allclose(image_targets(counts, 1.0)[0], torch.tensor([16 / 17, 1 / 17, 0]))


def test_an_ignored_class_shares_the_target_but_weighs_nothing():
    logits, labels = torch.tensor([[0.3, -1, 2]]), torch.tensor([[[0, 1, 1, 1]]])
    targets = image_targets(torch.tensor([[1, 3, 0]]), 0.25)
    expected = F.binary_cross_entropy_with_logits(logits[:, 1:], targets[:, 1:], reduction='sum') / 3
    assert torch.allclose(ImageBCELoss()(logits, labels, ignore_index=0), expected)


def test_ignored_pixels_outside_the_classes_change_nothing():
    logits = torch.tensor([[0.3, -1, 2]])
    full, part = torch.tensor([[[0, 1, 1, 1]]]), torch.tensor([[[0, 1, 1, 1, 255, 255]]])
    assert torch.equal(ImageBCELoss()(logits, full), ImageBCELoss()(logits, part))


@pytest.mark.parametrize('ignore_index', [1, 255])
def test_an_image_of_ignored_pixels_only_gives_no_gradient(ignore_index):
    logits = torch.randn(2, 3, requires_grad=True)
    labels = torch.stack([torch.full((2, 2), ignore_index), torch.zeros(2, 2).long()])
    grad, = torch.autograd.grad(ImageBCELoss()(logits, labels, ignore_index), logits)
    assert not grad[0].any() and grad[1].any()


def test_gradcheck():
    labels = torch.tensor([[[0, 1, 1, 255]], [[2, 2, 2, 2]]])
    logits = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: ImageBCELoss()(z, labels), logits)


def test_loss_weight_scales_and_a_config_builds_it():
    logits, labels = torch.randn(1, 3), torch.tensor([[[0, 2]]])
    built = ROOT.build(dict(type='dht_mm.ImageBCELoss', power=0.5, loss_weight=2.0))
    assert torch.equal(built(logits, labels), 2 * ImageBCELoss(0.5)(logits, labels))


def test_refuses_what_has_no_meaning():
    with pytest.raises(ValueError, match='power'):
        ImageBCELoss(power=-1)
    with pytest.raises(ValueError, match='logits'):
        ImageBCELoss()(torch.zeros(2, 3), torch.zeros(1, 4, 4).long())
    with pytest.raises(ValueError, match='labels.* got 3'):
        ImageBCELoss()(torch.zeros(1, 3), torch.full((1, 4, 4), 3))
