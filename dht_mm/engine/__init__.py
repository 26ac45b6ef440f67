"""What mmengine's runner and tools take from this package, apart from models."""

from .complexity import flop_handles
from .layer_decay import LayerDecayOptimWrapperConstructor

__all__ = ['LayerDecayOptimWrapperConstructor', 'flop_handles']
