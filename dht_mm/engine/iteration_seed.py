"""Random draws that do not depend on what was drawn before, so that a resumed run repeats an uninterrupted one."""

import hashlib
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import set_random_seed

from dht_mm.registry import HOOKS


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seeds Python, numpy and torch anew for the data and for the model of every iteration, from the run's seed, rank and iteration.

    mmengine's checkpoints hold no state of random generators: after a resumption stochastic depth, dropout and augmentation draw other
    numbers than an uninterrupted run would. With this hook (and ``randomness=dict(seed=...)``) they draw the same. Augmentation in worker
    processes (``num_workers > 0``) is seeded by mmengine when they start, so that it is another one after a resumption within an epoch.
    Draws differ between the processes of data-parallel training.
    """

    priority = 'VERY_LOW'  # what other hooks draw is forgotten, too

    def before_train_epoch(self, runner: Any) -> None:
        """Seed for the data of the epoch's first iteration."""
        _seed(runner, runner.iter, 'data')

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed for the model."""
        _seed(runner, runner.iter, 'model')

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None) -> None:
        """Seed for the data of the next iteration."""
        _seed(runner, runner.iter + 1, 'data')

    def after_val(self, runner: Any) -> None:
        """Seed for the data of the next iteration, after a validation that a resumed run does not repeat."""
        _seed(runner, runner.iter, 'data')


def _seed(runner: Any, iteration: int, use: str) -> None:
    text = f'{runner.seed} {get_rank()} {iteration} {use}'
    set_random_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], 'little'))
