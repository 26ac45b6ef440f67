"""Rows of region features to a packed sequence of tokens, and back to prefix tokens and regions."""

from .region_embedding import RegionEmbedding
from .sequence import join, sequence_offsets, split

__all__ = ['RegionEmbedding', 'join', 'sequence_offsets', 'split']
