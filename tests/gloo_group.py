"""Joins the processes of torchrun by gloo when a config imports it: mmengine's launcher itself only starts on GPUs.

As in two_processes.py the group is never taken down: each process waits until the other is done too, and leaves.
"""

import atexit
import os
import sys
import time
from pathlib import Path

import torch.distributed as dist
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

_failed = []


def _note_failure(*exception: object) -> None:
    _failed.append(True)
    sys.__excepthook__(*exception)


def _leave() -> None:
    if _failed:
        return
    done = Path(os.environ['GLOO_FOLDER'])
    (done / f'done-{os.environ["RANK"]}').touch()
    while len([*done.glob('done-*')]) < int(os.environ['WORLD_SIZE']):
        time.sleep(0.01)
    sys.stdout.flush()
    os._exit(0)


@HOOKS.register_module()
class SynchronisedNorm(Hook):
    """What ``sync_bn='torch'`` does, but after wrapping: torch's DDP refuses synchronised norms that are not on a GPU."""

    def before_train(self, runner: Runner) -> None:
        nn.SyncBatchNorm.convert_sync_batchnorm(runner.model)


if 'RANK' in os.environ:
    dist.init_process_group('gloo')
    sys.excepthook = _note_failure
    atexit.register(_leave)
