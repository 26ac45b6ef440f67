"""Tokens to feature maps, for the decode heads and necks of the toolkits."""

from .token_to_pixel import TokenToPixel

__all__ = ['TokenToPixel']
