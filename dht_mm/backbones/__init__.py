"""Backbones for the toolkits: the rooms below, wired together, with their capacities."""

from .arch import ARCHS, get_arch
from .dht_vit import DHTViT

__all__ = ['ARCHS', 'DHTViT', 'get_arch']
