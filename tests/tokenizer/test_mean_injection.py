"""Mean injection: region means become the predicted colours, and gradients reach the tokenizer through them."""

from dataclasses import replace

import pytest
import torch

from dht_mm.structures import Partition
from dht_mm.tokenizer import DHTTokenizer, inject_mean


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 14, 11, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def partition(images: torch.Tensor) -> Partition:
    torch.manual_seed(0)
    partition = DHTTokenizer().eval()(images)
    assert 2 < partition.total_regions < images[:, 0].numel()
    return partition


def test_region_means_become_the_colours_and_differences_within_regions_stay(images: torch.Tensor, partition: Partition):
    injected = inject_mean(images, partition)
    torch.testing.assert_close(partition.pool(injected), partition.color, rtol=1e-5, atol=1e-6)
    shift = injected - images
    torch.testing.assert_close(shift, partition.scatter(partition.pool(shift)), rtol=0, atol=1e-6)


def test_every_pixel_by_the_formula(images: torch.Tensor, partition: Partition):
    injected = inject_mean(images, partition)
    for image, y, x in ((0, 0, 0), (1, 13, 10), (0, 7, 3)):
        row = int(partition.packed_labels[image, y, x])
        region = partition.packed_labels[image] == row
        expected = images[image, :, y, x] + partition.color[row] - images[image][:, region].mean(1)
        torch.testing.assert_close(injected[image, :, y, x], expected)


def test_gradcheck(images: torch.Tensor, partition: Partition):
    color = partition.color.detach().double().requires_grad_()
    image = images.double().requires_grad_()

    def inject(image: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
        return inject_mean(image, replace(partition, color=color))

    assert torch.autograd.gradcheck(inject, (image, color), fast_mode=True)


def test_gradient_reaches_every_weight_of_the_projection(images: torch.Tensor):
    torch.manual_seed(0)
    model = DHTTokenizer().train()
    injected = inject_mean(images, model(images))
    (injected * torch.randn(injected.shape)).sum().backward()
    assert all(value.grad.isfinite().all() for value in model.parameters())
    for name, value in model.named_parameters():
        # No self edge wins on these images.
        if name.endswith('.weight') and name != 'self_edge.weight':
            assert value.grad.any(), name


def test_gradient_of_the_image_itself_is_that_of_what_remains(images: torch.Tensor, partition: Partition):
    """With the colours held, adding a constant to a region changes nothing."""
    image = images.clone().requires_grad_()
    weight = torch.randn(images.shape)
    (inject_mean(image, replace(partition, color=partition.color.detach())) * weight).sum().backward()
    torch.testing.assert_close(partition.pool(image.grad), torch.zeros_like(partition.color), rtol=0, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_of_the_image_is_kept(images: torch.Tensor, partition: Partition, dtype: torch.dtype):
    assert inject_mean(images.to(dtype), partition).dtype == dtype


def test_image_of_another_size_is_named(images: torch.Tensor, partition: Partition):
    with pytest.raises(ValueError, match=r'features must be .* got shape \(2, 3, 14, 10\)'):
        inject_mean(images[..., :10], partition)
