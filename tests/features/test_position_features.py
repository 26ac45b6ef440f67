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


def test_the_middle_of_a_cell_is_that_cell_and_points_between_are_smooth():
    features = PositionFeatures((3, 5), 32)
    y, x = torch.meshgrid(torch.arange(3), torch.arange(5), indexing='ij')
    middles = torch.stack([(y + 0.5) / 3, (x + 0.5) / 5], -1).flatten(0, 1)
    torch.testing.assert_close(features.at(middles), torch.eye(15), atol=1e-6, rtol=0)
    between = features.at(torch.tensor([[0.5, 0.4], [0.0, 0.0], [1.0, 1.0]]))
    torch.testing.assert_close(between.sum(1), torch.ones(3))
    row = between[0].view(3, 5)
    torch.testing.assert_close(row[1], torch.tensor([-0.09375, 0.59375, 0.59375, -0.09375, 0]), atol=1e-6, rtol=0)
    assert not row[[0, 2]].abs().max() > 1e-6
    torch.testing.assert_close(PositionFeatures((3, 5), 16).at(middles), 4 * torch.eye(15), atol=1e-5, rtol=0)
