"""Derivatives, the curve that bends them, and their histograms."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from partitions import random_case

from dht_mm.features import GradientFeatures, arcsinh_curve, scharr_gradient
from dht_mm.structures import Partition

SCHARR = torch.tensor([[-3.0, -10, -3], [0, 0, 0], [3, 10, 3]], dtype=torch.float64) / 32


@pytest.mark.parametrize('height, width', [(9, 12), (1, 5), (4, 1), (1, 1)])
def test_gradient_is_a_convolution_with_scharrs_kernels(height: int, width: int):
    image, _ = random_case(height=height, width=width, dtype=torch.float64)
    padded = F.pad(image.mean(1, keepdim=True), (1, 1, 1, 1), mode='replicate')
    expected = F.conv2d(padded, torch.stack([SCHARR, SCHARR.T])[:, None])
    assert torch.allclose(scharr_gradient(image), expected, atol=1e-12)


def test_gradient_of_a_ramp():
    ramp = torch.arange(5.0)[:, None] * 3 + torch.arange(6.0) * 2
    assert torch.equal(scharr_gradient(ramp.expand(1, 4, 5, 6))[0, :, 2, 2], torch.tensor([3.0, 2.0]).double())


@pytest.mark.parametrize('name', ['tokenizer_cityhydrant_128x128_aicc_cmp0.1', 'tokenizer_toys_224x224_aicc_cmp0.01'])
def test_gradient_is_the_published_one(shared, name: str):
    golden = np.load(shared / f'golden/{name}.npz')
    image = torch.from_numpy(golden['image']).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(value)[:, None, None] for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    gradient = scharr_gradient((image - mean) / std)[0]
    assert np.abs(gradient.numpy() - golden['gradient']).max() < 1e-5


@pytest.mark.parametrize('bend', [-8.0, -0.5, 0.0, 1e-3, 3.0, 50.0])
def test_curve_is_odd_increasing_and_keeps_the_ends(bend: float):
    x = torch.linspace(-1, 1, 101, dtype=torch.float64)
    y = arcsinh_curve(x, torch.tensor(bend, dtype=torch.float64))
    assert y[-1].item() == pytest.approx(1) and torch.allclose(y, -y.flip(0), atol=1e-12) and (y.diff() > 0).all()
    if bend:
        middle = math.asinh(bend / 2) / math.asinh(bend) if bend > 0 else math.sinh(math.asinh(bend) / 2) / bend
        assert y[75].item() == pytest.approx(middle)
    else:
        assert torch.equal(x, y)


def test_curves_of_both_axes_are_in_the_order_of_the_gradient():
    image = torch.zeros(1, 3, 5, 5)
    image[:] = torch.arange(5)[:, None] * 0.1 + torch.arange(5) * 0.1
    partition = Partition.from_labels(torch.zeros(1, 5, 5, dtype=torch.long), image)
    counts = GradientFeatures(8, (50.0, 0.0))(image, partition).view(8, 8)
    y, x = divmod(int(counts.argmax()), 8)
    assert x == 4 and y > 4


def test_rows_are_shares_scaled_by_the_bins():
    image, partition = random_case()
    features = GradientFeatures(8)
    rows = features(image, partition)
    assert rows.shape == (partition.total_regions, features.dims) and features.dims == 64
    assert torch.allclose(rows.sum(1), torch.tensor(16.0))


def test_no_gradient_and_nothing_to_train():
    image, partition = random_case()
    features = GradientFeatures(8)
    assert not features(image.requires_grad_(), partition).requires_grad
    assert not list(features.parameters()) and features.state_dict()['curve'].shape == (2, 1, 1)


def test_bits_do_not_depend_on_the_batch():
    image, _ = random_case(batch=5, height=33, width=35)
    whole = scharr_gradient(image)
    for index in range(5):
        assert torch.equal(scharr_gradient(image[index:index + 1])[0], whole[index])
