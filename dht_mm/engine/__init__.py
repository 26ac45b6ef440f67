"""What mmengine's runner and tools take from this package, apart from models."""

from .complexity import flop_handles

__all__ = ['flop_handles']
