"""Pictures of a run's regions in its visual back ends, while it trains."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from dht_mm.registry import HOOKS
from dht_mm.structures import Partition

from .histogram import count_histogram
from .overviews import draw_levels, draw_regions, draw_tokens
from .tokens import evaluating

PICTURES = ('regions', 'levels', 'tokens', 'counts')


@HOOKS.register_module()
class RegionVisualizationHook(Hook):
    """Hands pictures of what the model's tokenizer does to the runner's visualizer, and so to all its back ends.

    ``custom_hooks = [dict(type='dht_mm.RegionVisualizationHook', interval=500)]`` in a config of any toolkit is enough. The regions
    are those of the very forward passes of the run: nothing is computed twice, and training goes on exactly as without the hook.
    Levels and tokens take a forward pass of their own, in evaluation mode and on the first process alone: where processes share their
    weights among them (FSDP), leave these two out. Images are taken for RGB, in which tokenizers are trained.

    Pictures are called ``{train,val,test}_{regions,levels,tokens}_I`` for image I, ``{val,test}_counts`` for the histogram of all
    images (of the first process; of crops in sliding inference), and carry the training iteration as their step.

    Args:
        pictures: Which to draw: ``'regions'``, ``'levels'`` (needs a tokenizer with a hierarchy), ``'tokens'`` (needs a backbone on
            regions) and ``'counts'`` (drawn in validation and testing).
        num_images: Images to draw of a batch, the first ones: of the first batch in validation and testing.
        interval: Draw every so many training iterations; None for not at all.
        block: Block whose tokens are drawn, see :func:`draw_tokens`.

    Raises:
        ValueError: A picture is unknown, ``num_images`` or ``interval`` is not positive, or the model has not what a picture needs.
    """

    priority = 'NORMAL'

    def __init__(self, pictures: Sequence[str] = ('regions',), num_images: int = 2, interval: int | None = None, block: int = -1):
        if unknown := [name for name in pictures if name not in PICTURES]:
            raise ValueError(f'pictures must be some of {PICTURES}, got {unknown[0]!r}')
        for name, value in (('num_images', num_images), ('interval', interval)):
            if value is not None and value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')
        self.pictures, self.num_images, self.interval, self.block = tuple(pictures), num_images, interval, block
        self._wanted = self._counting = False
        self._seen: tuple[Tensor, Partition] | None = None
        self._counts: list[int] = []

    def before_run(self, runner: Runner) -> None:
        """Find the tokenizer and listen to it."""
        holder = _find(runner.model, 'tokenizer')
        self._tokenizer = holder.tokenizer
        if 'levels' in self.pictures and not hasattr(self._tokenizer, 'hierarchy'):
            raise ValueError(f"pictures must be without 'levels' for a {type(self._tokenizer).__name__}, which has no hierarchy")
        if 'tokens' in self.pictures and not hasattr(holder, 'encoder'):
            raise ValueError(f"pictures must be without 'tokens' for a {type(holder).__name__}, which has no encoder")
        self._backbone = holder if 'tokens' in self.pictures else None
        self._preprocessor = _find(runner.model, 'data_preprocessor').data_preprocessor
        self._listener = self._tokenizer.register_forward_hook(self._listen)

    def after_run(self, runner: Runner) -> None:
        """Leave the tokenizer alone."""
        self._listener.remove()

    def _listen(self, tokenizer: nn.Module, inputs: tuple[Tensor], partition: Partition) -> None:
        if self._wanted and self._seen is None:
            self._seen = inputs[0][:self.num_images].detach(), partition
        if self._counting:
            self._counts += partition.num_regions.tolist()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Listen in those iterations whose number is a multiple of the interval."""
        self._wanted = self.interval is not None and (runner.iter + 1) % self.interval == 0 and is_main_process()

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Listen to the first batch, and count the regions of all."""
        self._wanted = batch_idx == 0 and is_main_process()
        self._counting = 'counts' in self.pictures and is_main_process()

    before_test_iter = before_val_iter

    def _after_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None, mode: str = 'train') -> None:
        """Draw what was heard."""
        self._counting = False  # pictures take forward passes of their own
        if self._seen is None:
            return
        (images, partition), self._seen, self._wanted = self._seen, None, False
        step = runner.iter + (mode == 'train')
        for index in range(len(images)):
            for name, picture in self._draw(images[index:index + 1], partition.labels[index]).items():
                runner.visualizer.add_image(f'{mode}_{name}_{index}', picture, step)

    def before_val_epoch(self, runner: Runner) -> None:
        """Count anew."""
        self._counts = []

    before_test_epoch = before_val_epoch

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Draw the counts of all images."""
        self._add_counts(runner, 'val')

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Draw the counts of all images."""
        self._add_counts(runner, 'test')

    def _add_counts(self, runner: Runner, mode: str) -> None:
        if self._counts:
            runner.visualizer.add_image(f'{mode}_counts', count_histogram(self._counts), runner.iter)

    @torch.no_grad()
    def _draw(self, inputs: Tensor, labels: Tensor) -> dict[str, np.ndarray]:
        image, pictures = self._to_picture(inputs[0]), {}
        if 'regions' in self.pictures:
            pictures['regions'] = draw_regions(image, labels)
        if 'levels' in self.pictures:
            with evaluating(self._tokenizer):
                pictures['levels'] = draw_levels(image, self._tokenizer.hierarchy(inputs))
        if self._backbone is not None:
            with evaluating(self._backbone):
                pictures['tokens'] = draw_tokens(image, self._backbone, inputs, self.block)
        return pictures

    def _to_picture(self, pixels: Tensor) -> np.ndarray:
        """``[3, H, W]`` as the preprocessor normalised it to ``[H, W, 3]`` uint8."""
        if len(pixels) != 3:
            raise ValueError(f'pictures need images of 3 channels, got {len(pixels)}')
        mean, deviation = getattr(self._preprocessor, 'mean', 0), getattr(self._preprocessor, 'std', 1)
        levels = (pixels.float() * deviation + mean).round().clamp(0, 255)
        return levels.byte().permute(1, 2, 0).cpu().numpy()


def _find(model: nn.Module, name: str) -> nn.Module:
    """The first part of a model that has a module of this name."""
    for part in model.modules():
        if isinstance(getattr(part, name, None), nn.Module):
            return part
    raise ValueError(f'the model must have a {name}, but a {type(model).__name__} has none')
