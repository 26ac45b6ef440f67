"""Reconstruction loss: the squared distance of pixels to their region's predicted colour."""

import pytest
import torch

from dht_mm.losses import reconstruction_loss
from dht_mm.registry import MODELS
from dht_mm.structures import Partition


def quadrants() -> tuple[torch.Tensor, Partition]:
    """Two images of 2 by 4 pixels and 3 channels, each cut into a left and a right half."""
    images = torch.randn(2, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    return images, Partition.from_labels(torch.tensor([[0, 0, 1, 1]]).expand(2, 2, 4), images)


def test_equals_the_loop_over_pixels():
    images, partition = quadrants()
    total = 0.0
    for image, y, x in torch.cartesian_prod(torch.arange(2), torch.arange(2), torch.arange(4)).tolist():
        total += ((images[image, :, y, x] - partition.color[2 * image + x // 2])**2).sum()
    torch.testing.assert_close(reconstruction_loss(images, partition), total / 16)


def test_is_zero_for_images_painted_with_the_predicted_colors():
    _, partition = quadrants()
    assert reconstruction_loss(partition.scatter(partition.color), partition) == 0


def test_mean_color_is_the_minimum():
    images, partition = quadrants()
    color = partition.color.clone().requires_grad_()
    reconstruction_loss(images, Partition(*(getattr(partition, name) for name in (
        'labels', 'num_regions', 'offsets', 'bbox', 'size', 'mean')), color)).backward()
    torch.testing.assert_close(color.grad, torch.zeros_like(color), atol=1e-6, rtol=0)


def test_registered_loss_is_the_function():
    images, partition = quadrants()
    loss = MODELS.build(dict(type='dht_mm.ReconstructionLoss'))
    assert loss(images, partition) == reconstruction_loss(images, partition)


@pytest.mark.parametrize('shape', [(1, 3, 2, 4), (2, 1, 2, 4), (2, 3, 4, 2)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match='images must be of the shape of the partition'):
        reconstruction_loss(torch.zeros(shape), quadrants()[1])
