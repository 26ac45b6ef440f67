"""Feature maps that know the regions they were painted from."""

from collections.abc import Iterable

from torch import Tensor

from .partition import Partition


class RegionMaps(tuple[Tensor, ...]):
    """A tuple of feature maps ``[B, D, h, w]``, one a level, for anything that reads the maps of a backbone or neck.

    Attributes:
        partition: The regions whose tokens were painted, for heads that go back to them.
    """

    partition: Partition

    def __new__(cls, maps: Iterable[Tensor], partition: Partition) -> 'RegionMaps':
        """A tuple is made, not initialised."""
        self = super().__new__(cls, maps)
        self.partition = partition
        return self
