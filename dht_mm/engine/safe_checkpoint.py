"""Checkpoints that survive a kill, a full disk and a damaged file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import find_latest_checkpoint
from torch import nn

from dht_mm.registry import HOOKS

from .plain_types import from_plain, to_plain
from .whole_files import check_checkpoint, write_whole

BACKEND = 'dht_mm_whole_files'


class WholeFiles(LocalBackend):
    """mmengine's access to local files, with files that are written whole or not at all, and removed when told so a second time."""

    def __init__(self) -> None:
        super().__init__()
        self._outdated: list[str] = []

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file, see :func:`write_whole`."""
        write_whole(filepath, obj)

    def remove(self, filepath: str | Path) -> None:
        """Note a file that is in the way of nothing until :meth:`remove_outdated`."""
        self._outdated.append(str(filepath))

    def remove_outdated(self, kept: list[str]) -> None:
        """Remove the files noted, except for those that have been written again."""
        for path in {*self._outdated} - {*kept}:
            Path(path).unlink(missing_ok=True)
        self._outdated.clear()


register_backend(BACKEND, WholeFiles)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` for runs that get killed, meet full disks and read damaged files.

    Takes its place and its arguments in ``default_hooks``: ``checkpoint=dict(type='dht_mm.SafeCheckpointHook', interval=1)``. Unlike it,

    - a checkpoint is written beside the others and then put in its place, so one that has its name is whole; a full disk is an error that
      names the file and leaves those that were there before;
    - outdated ones (``max_keep_ckpts``, ``save_best``) are removed after the new one is written and not before;
    - checkpoints hold tensors and plain types only and load with ``weights_only=True``, while the history of the log is resumed too;
    - checkpoints that the run resumes or loads, also those of ``init_cfg``, are read through first; if one is damaged an error names it.

    ``backend_args``, for other places than local folders, replace how files are written, and so the first point.
    """

    def __init__(self, backend_args: dict | None = None, **kwargs: Any) -> None:
        super().__init__(backend_args=backend_args or dict(backend=BACKEND), **kwargs)

    def before_run(self, runner: Any) -> None:
        """Check the checkpoints that the run starts from.

        Raises:
            ValueError: One is damaged.
        """
        if is_main_process():
            resumed = runner._load_from or (find_latest_checkpoint(runner.work_dir) if runner._resume else None)
            for path in {resumed, *_pretrained(runner.model)}:
                if path and Path(path).is_file():
                    check_checkpoint(path)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Leave only tensors and plain types in it."""
        checkpoint.update({key: to_plain(value) for key, value in checkpoint.items() if key != 'state_dict'})

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Give the runner the history of its log back."""
        if 'message_hub' in checkpoint:
            checkpoint['message_hub'] = from_plain(checkpoint['message_hub'])

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict) -> None:
        self._note_outdated(runner, step)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir, name, self.file_client_args, save_optimizer=self.save_optimizer, save_param_scheduler=self.save_param_scheduler,
            meta=meta, by_epoch=self.by_epoch, backend_args=self.backend_args, **self.args)
        if is_main_process():
            write_whole(Path(runner.work_dir, 'last_checkpoint'), self.last_ckpt.encode())
            self._remove_outdated()

    def _save_best_checkpoint(self, runner: Any, metrics: dict) -> None:
        super()._save_best_checkpoint(runner, metrics)
        if is_main_process():
            self._remove_outdated()

    def _note_outdated(self, runner: Any, step: int) -> None:
        if self.max_keep_ckpts <= 0 or step in self.keep_ckpt_ids:
            return
        if len(self.keep_ckpt_ids) == self.max_keep_ckpts and is_main_process():
            oldest = self.filename_tmpl.format(self.keep_ckpt_ids[0])
            self.file_backend.remove(self.file_backend.join_path(self.out_dir, oldest))
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info('keep_ckpt_ids', [*self.keep_ckpt_ids])

    def _remove_outdated(self) -> None:
        if isinstance(self.file_backend, WholeFiles):
            best = [getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()]
            self.file_backend.remove_outdated([self.last_ckpt, *best])


def _pretrained(model: nn.Module) -> Iterator[str]:
    """The checkpoints that ``init_cfg`` of the model's parts name."""
    for module in model.modules():
        configs = getattr(module, 'init_cfg', None) or []
        for config in [configs] if isinstance(configs, dict) else configs:
            if config.get('type') == 'Pretrained':
                yield config['checkpoint']
