"""Two processes that train together, on the CPU or on a GPU each."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

SECONDS = 120
needs_two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason='needs two GPUs')


def run_two_processes(work: Callable, folder: Path, *arguments: object, device: str = 'cpu') -> None:
    """Call ``work(rank, folder, *arguments)`` in two processes that are joined by gloo or, with a GPU each, by NCCL.

    Raises:
        TimeoutError: They take longer than ``SECONDS``.
    """
    processes = mp.start_processes(_enter, (work, folder, device, *arguments), nprocs=2, join=False, start_method='spawn')
    deadline = time.monotonic() + SECONDS
    while not processes.join(timeout=1):
        if time.monotonic() > deadline:
            for process in processes.processes:
                process.kill()
            raise TimeoutError(f'two processes did not end within {SECONDS} seconds')


def _enter(rank: int, work: Callable, folder: Path, device: str, *arguments: object) -> None:
    if device == 'cuda':
        torch.cuda.set_device(rank)
    dist.init_process_group('nccl' if device == 'cuda' else 'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    work(rank, folder, *arguments)
    if device == 'cuda':
        torch.cuda.synchronize()
    # The threads of gloo were seen to abort, and to wait for ever, while a group was taken down. So none is: each process waits until the
    # other has done its work too, and leaves.
    (folder / f'done-{rank}').touch()
    while not (folder / f'done-{1 - rank}').exists():
        time.sleep(0.01)
    os._exit(0)
