"""Data that flows between the rooms: the partition of a batch of images and the tokens on it."""

from .partition import Partition
from .tokens import RegionTokens

__all__ = ['Partition', 'RegionTokens']
