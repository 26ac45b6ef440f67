"""Counting pixels by region and bin, exactly."""

import torch
from torch import Tensor


def count(rows: Tensor, columns: Tensor, num_rows: int, num_columns: int) -> Tensor:
    """``[num_rows, num_columns]`` int32: how often each pair occurs; ``rows`` and ``columns`` are int64 and broadcast."""
    cell = (rows * num_columns + columns).flatten()
    counts = torch.zeros(num_rows * num_columns, dtype=torch.int32, device=cell.device)
    return counts.scatter_add_(0, cell, counts.new_ones(1).expand_as(cell)).view(num_rows, num_columns)
