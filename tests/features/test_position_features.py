"""Positions are shares of a region's pixels, scaled."""

import pytest
import torch
from partitions import random_case

from dht_mm.features import PositionFeatures


@pytest.mark.parametrize('grid, scale, factor', [(4, None, 64), (4, 16, 4), ((2, 8), None, 64)])
def test_rows_sum_to_the_scale(grid, scale, factor: float):
    image, partition = random_case()
    features = PositionFeatures(grid, scale)
    rows = features(image, partition)
    assert rows.shape == (partition.total_regions, 16) and features.dims == 16
    assert torch.allclose(rows.sum(1), torch.tensor(float(factor)))


def test_cells_are_numbered_along_x_first():
    image, partition = random_case(batch=1, height=4, width=6, seeds=1)
    rows = PositionFeatures((2, 3), 32)(image, partition)
    assert torch.allclose(rows, torch.full((1, 6), 1 / 6))
    image, partition = random_case(batch=1, height=1, width=2, seeds=50)
    rows = PositionFeatures((1, 2), 32)(image, partition)
    assert torch.equal(rows, torch.eye(2))


def test_rows_have_the_dtype_of_the_images():
    image, partition = random_case()
    assert PositionFeatures(4)(image.double(), partition).dtype == torch.float64


def test_bad_input_is_named():
    with pytest.raises(ValueError, match='scale .* got 0'):
        PositionFeatures(4, 0)
    with pytest.raises(ValueError, match='grid_x .* got -1'):
        PositionFeatures((4, -1))
