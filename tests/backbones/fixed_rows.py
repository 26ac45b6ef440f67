"""A tokenizer whose partitions have a fixed number of rows, made of one whose partitions do not."""

from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from dht_mm.structures import Partition


class FixedRows(nn.Module):
    """Puts spare rows behind those of another tokenizer.

    Args:
        tokenizer: The other one.
        capacity: Rows of a batch.
        max_regions: Most regions of an image.
    """

    def __init__(self, tokenizer: nn.Module, capacity: int, max_regions: int):
        super().__init__()
        self.tokenizer, self.capacity, self.max_regions = tokenizer, capacity, max_regions

    def forward(self, images: Tensor) -> Partition:
        """As :class:`DHTTokenizer`."""
        return with_spare_rows(self.tokenizer(images), self.capacity, self.max_regions)


def with_spare_rows(partition: Partition, capacity: int, max_regions: int) -> Partition:
    """The same partition with ``capacity`` rows in its packed fields, of which the last are zero."""
    packed = {field.name: getattr(partition, field.name) for field in fields(partition)[3:7]}
    spare = capacity - partition.total_regions
    rows = {name: torch.cat([rows, rows.new_zeros(spare, *rows.shape[1:])]) for name, rows in packed.items()}
    return replace(partition, **rows, max_regions=max_regions)
