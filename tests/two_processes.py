"""Two processes on the CPU that train together."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist
import torch.multiprocessing as mp

SECONDS = 120


def run_two_processes(work: Callable, folder: Path, *arguments: object) -> None:
    """Call ``work(rank, folder, *arguments)`` in two processes that are joined by gloo.

    Raises:
        TimeoutError: They take longer than ``SECONDS``.
    """
    processes = mp.start_processes(_enter, (work, folder, *arguments), nprocs=2, join=False, start_method='spawn')
    deadline = time.monotonic() + SECONDS
    while not processes.join(timeout=1):
        if time.monotonic() > deadline:
            for process in processes.processes:
                process.kill()
            raise TimeoutError(f'two processes did not end within {SECONDS} seconds')


def _enter(rank: int, work: Callable, folder: Path, *arguments: object) -> None:
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    work(rank, folder, *arguments)
    # The threads of gloo were seen to abort, and to wait for ever, while a group was taken down. So none is: each process waits until the
    # other has done its work too, and leaves.
    (folder / f'done-{rank}').touch()
    while not (folder / f'done-{1 - rank}').exists():
        time.sleep(0.01)
    os._exit(0)
