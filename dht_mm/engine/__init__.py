"""What mmengine's runner and tools take from this package, apart from models."""

from .complexity import flop_handles
from .iteration_seed import IterationSeedHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .safe_checkpoint import SafeCheckpointHook

__all__ = ['IterationSeedHook', 'LayerDecayOptimWrapperConstructor', 'SafeCheckpointHook', 'flop_handles']
