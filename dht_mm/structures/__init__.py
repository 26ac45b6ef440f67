"""Data that flows between the rooms: the partition of a batch of images, the tokens on it, the maps painted from them."""

from .partition import Partition
from .region_maps import RegionMaps
from .tokens import RegionTokens

__all__ = ['Partition', 'RegionMaps', 'RegionTokens']
