"""Data-parallel training adds up to one process."""

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from two_processes import run_two_processes

from dht_mm.losses import ImageBCELoss, ReconstructionLoss, RegionCrossEntropyLoss, RegionFocalLoss
from dht_mm.structures import Partition


def batch(images):
    """Images of 2, 3 and 7 regions with class maps, the last partly ignored; their inputs to the classifier below."""
    regions = torch.stack([torch.arange(8) // 4, torch.arange(8) // 3, (torch.arange(8) - 1).clamp_min(0)])[:, None]
    labels = torch.tensor([[[0, 1, 1, 1, 2, 2, 2, 2]], [[0, 0, 0, 0, 1, 1, 2, 2]], [[1, 255, 255, 255, 2, 0, 0, 1]]])
    partition = Partition.from_labels(regions[images], torch.linspace(-1, 1, 8).expand(len(images), 1, 1, 8))
    return partition, labels[images]


def total_loss(classifier, images):
    partition, labels = batch(images)
    tokens = torch.cat([partition.mean, partition.size[:, None] / 8, partition.image_index[:, None] + images[0] + 0.0], 1)
    means = torch.stack([part.mean(0) for part in tokens.split(partition.num_regions.tolist())])
    logits = classifier(torch.cat([tokens, means]))
    regions, painted = logits[:len(tokens)], replace(partition, color=logits[:len(tokens)])
    of_regions = sum(loss(regions, labels, partition) for loss in (RegionFocalLoss(), RegionCrossEntropyLoss()))
    return of_regions + ImageBCELoss()(logits[len(tokens):], labels) + ReconstructionLoss()(torch.ones(len(images), 3, 1, 8), painted)


def make_classifier():
    torch.manual_seed(0)
    return nn.Linear(3, 3)


def train_on_a_rank(rank, folder):
    classifier = DistributedDataParallel(make_classifier())
    loss = total_loss(classifier, [[0], [1, 2]][rank])  # ranks of unequal numbers of regions and images
    loss.backward()
    torch.save((loss.detach(), classifier.module.weight.grad), folder / f'{rank}.pt')


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason='needs torch.distributed with gloo')
def test_two_ranks_of_unequal_size_give_the_loss_and_gradient_of_one(tmp_path):
    run_two_processes(train_on_a_rank, tmp_path)
    losses, gradients = zip(*(torch.load(tmp_path / f'{rank}.pt') for rank in range(2)), strict=True)
    classifier = make_classifier()
    loss = total_loss(classifier, [0, 1, 2])
    loss.backward()
    assert torch.allclose(sum(losses) / 2, loss, atol=1e-6)
    assert all(torch.allclose(gradient, classifier.weight.grad, atol=1e-6) for gradient in gradients)
