"""Pixel features against torch's stock layers, for sizes that are multiples of four and for all others."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dht_mm.ops import project
from dht_mm.tokenizer import projection as room
from dht_mm.tokenizer.projection import FeatureProjection


def projection(in_channels: int = 3, seed: int = 0) -> FeatureProjection:
    """Random weights, and running statistics unlike the initial ones."""
    torch.manual_seed(seed)
    module = FeatureProjection(in_channels, 8)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for value in (norm.weight, norm.running_var):
                nn.init.uniform_(value, 0.5, 2.0)
            for value in (norm.bias, norm.running_mean):
                nn.init.uniform_(value, -1.0, 1.0)
    return module


def stock(module: FeatureProjection, image: Tensor) -> Tensor:
    """``SiLU(A(x) + U(x))`` by torch's own layers; both sides of the image are multiples of four."""
    fine = module.pixel['norm'](module.pixel['conv'](image))
    coarse = F.silu(module.coarse['norm1'](module.coarse['conv1'](image)))
    coarse = module.coarse['norm2'](module.coarse['conv2'](coarse))
    return F.silu(fine + F.interpolate(coarse, scale_factor=4, mode='bilinear', align_corners=True))


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize(('in_channels', 'height', 'width'), [(3, 16, 24), (1, 4, 4), (6, 8, 4), (3, 64, 4)])
def test_equals_the_stock_layers(in_channels: int, height: int, width: int, training: bool):
    module, image = projection(in_channels).train(training), torch.randn(2, in_channels, height, width)
    expected = stock(projection(in_channels).train(training), image)
    torch.testing.assert_close(module(image), expected, rtol=1e-5, atol=2e-6)


def test_running_statistics_equal_the_stock_layers():
    ours, theirs = projection().train(), projection().train()
    image = torch.randn(4, 3, 12, 8)
    ours(image), stock(theirs, image)
    for name, value in theirs.named_buffers():
        torch.testing.assert_close(ours.state_dict()[name], value)


@pytest.mark.parametrize('training', [False, True])
def test_gradients_equal_the_stock_layers(training: bool):
    ours, theirs = projection().double().train(training), projection().double().train(training)
    image = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    images = [image.clone().requires_grad_() for _ in range(2)]
    weight = torch.randn(2, 8, 8, 12, dtype=torch.float64)
    (weight * ours(images[0])).sum().backward()
    (weight * stock(theirs, images[1])).sum().backward()
    torch.testing.assert_close(images[0].grad, images[1].grad)
    for (name, value), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(value.grad, other.grad, msg=name)


@pytest.mark.parametrize('width', [1, 2, 3, 5, 8, 11])
@pytest.mark.parametrize('height', [1, 2, 3, 4, 6, 13])
def test_other_sizes_are_extended_by_their_last_row_and_column(height: int, width: int):
    module, image = projection().eval(), torch.randn(1, 3, height, width)
    extended = F.pad(image, (0, -width % 4, 0, -height % 4), mode='replicate')
    found = module(image)
    assert found.shape == (1, 8, height, width)
    torch.testing.assert_close(found, stock(module, extended)[:, :, :height, :width], rtol=1e-5, atol=2e-6)
    assert torch.equal(found, module(extended)[:, :, :height, :width])


def test_float32_is_float64_rounded_once():
    module, image = projection().eval(), torch.randn(2, 3, 10, 14)
    assert torch.equal(module(image), module(image.double()).float())


def test_frozen_projection_takes_one_call_and_an_image_still_gets_its_gradient(monkeypatch):
    calls = []
    monkeypatch.setattr(room, 'project', lambda *arguments: calls.append(1) or project(*arguments))
    module, image = projection().eval(), torch.randn(2, 3, 10, 14)
    expected = module(image)
    assert expected.requires_grad and not calls
    module.requires_grad_(False)
    found = module(image)
    assert torch.equal(found, expected) and not found.requires_grad and len(calls) == 1
    module(image.requires_grad_()).sum().backward()
    assert image.grad.abs().max() > 0 and len(calls) == 1
    module.pixel['norm'].train()  # its statistics have to be taken
    module(image.detach())
    assert len(calls) == 1


def test_published_features_are_those_of_the_stock_layers(golden, published: dict[str, Tensor]):
    data = golden('bench_96x160_aicc_cmp0.01')
    with torch.no_grad():
        found, expected = data.tokenizer.projection(data.image), stock(data.tokenizer.projection, data.image)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-5)
