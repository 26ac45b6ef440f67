"""Pixels of other regions are mixed with learned colours; a region's own stay."""

import torch
from partitions import random_case

from dht_mm.features import PixelFeatures
from dht_mm.ops import region_pixels
from dht_mm.structures import Partition


def test_mix_of_samples_and_mask_token():
    image, partition = random_case()
    features = PixelFeatures(3, 6)
    samples, mask = region_pixels(image, partition.labels, partition.offsets, partition.bbox, 6)
    share = torch.sigmoid(features.mix_logit)
    assert torch.allclose(share, torch.tensor(0.01))
    expected = mask * samples + share * (1 - mask) * samples + (1 - share) * (1 - mask) * features.mask_token
    rows = features(image, partition)
    assert rows.shape == (partition.total_regions, features.dims) and features.dims == 108
    assert torch.allclose(rows, expected.flatten(1), atol=1e-6)


def test_patches_of_a_grid_are_their_pixels_exactly():
    image = torch.randn(2, 3, 8, 12)
    grid = torch.arange(8)[:, None] // 4 * 3 + torch.arange(12) // 4
    rows = PixelFeatures(3, 4)(image, Partition.from_labels(grid.expand(2, -1, -1), image))
    assert torch.equal(rows, torch.nn.functional.unfold(image, 4, stride=4).transpose(1, 2).flatten(0, 1))


def test_gradients_to_image_and_parameters():
    image, partition = random_case(height=5, width=6, seeds=4, channels=2, dtype=torch.float64)
    features = PixelFeatures(2, 3).double()

    def rows(image, mix_logit, mask_token):
        return torch.func.functional_call(features, dict(mix_logit=mix_logit, mask_token=mask_token), (image, partition))

    inputs = [value.detach().requires_grad_() for value in (image, features.mix_logit, features.mask_token)]
    assert torch.autograd.gradcheck(rows, inputs)
