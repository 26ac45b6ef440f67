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
        """Seed for the data of the epoch's first iteration; in training by iterations, for that of every one."""
        _seed(runner, runner.iter, 'data')
        if hasattr(runner.train_loop, 'dataloader_iterator'):
            runner.train_loop.dataloader_iterator = _SeededData(runner.train_loop.dataloader_iterator, runner)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed for the model."""
        _seed(runner, runner.iter, 'model')

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None) -> None:
        """Seed for the data of the next iteration."""
        _seed(runner, runner.iter + 1, 'data')

    def after_val(self, runner: Any) -> None:
        """Seed for the data of the next iteration, after a validation that a resumed run does not repeat."""
        _seed(runner, runner.iter, 'data')


class _SeededData:
    """mmengine's iterator over the data: a resumed run may first draw what it passes over, after the last hook before the training."""

    def __init__(self, iterator: Any, runner: Any) -> None:
        self._iterator, self._runner = iterator, runner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iterator, name)

    def __next__(self) -> Any:
        _seed(self._runner, self._runner.iter, 'data')
        return next(self._iterator)


def _seed(runner: Any, iteration: int, use: str) -> None:
    text = f'{runner.seed} {get_rank()} {iteration} {use}'
    set_random_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], 'little'))
