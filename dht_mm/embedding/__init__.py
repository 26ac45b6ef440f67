"""Rows of region features to a packed sequence of tokens, and back to prefix tokens and regions."""

from .positions import resize_positions
from .region_embedding import RegionEmbedding
from .sequence import join, sequence_offsets, split

__all__ = ['RegionEmbedding', 'join', 'resize_positions', 'sequence_offsets', 'split']
