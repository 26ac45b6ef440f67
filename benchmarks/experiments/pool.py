"""Runs of an experiment, one after the other or several at once, until time is up."""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from multiprocessing.queues import Queue

import torch
from mmengine.logging import MMLogger

Run = Callable[[tuple], dict]  # a task to its figures


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every experiment."""
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--limit', type=float, default=float('inf'), help='seconds for all runs: none is begun that would not end')
    parser.add_argument('--workers', type=int, default=1, help='runs at once on each device; their times say nothing then (default: 1)')
    parser.add_argument('--devices', nargs='+', default=[f'cuda:{index}' for index in range(torch.cuda.device_count())] or ['cpu'],
                        help='where to run (default: every GPU, or the CPU)')
    parser.add_argument('--dtype', choices=('bfloat16', 'float32'), default='bfloat16', help='of autocast; float32 is without')
    parser.add_argument('--json', help='file to write all figures to, after every run')


def autocast(args: argparse.Namespace) -> torch.autocast:
    """The precision asked for, on the device of this process, ``args.device``."""
    return torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.dtype == 'bfloat16')


def wait(args: argparse.Namespace) -> float:
    """The time when the device is done."""
    if torch.device(args.device).type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter()


class _Timed:
    """Runs on one device that begin only if the longest one so far would end in time."""

    def __init__(self, make: Callable[[argparse.Namespace], Run], args: argparse.Namespace, device: str, deadline: float):
        MMLogger.get_current_instance().setLevel('ERROR')  # the constructor of optimizers reports every parameter
        if torch.device(device).type == 'cuda':
            torch.cuda.set_device(device)
        self.run, self.deadline, self.longest = make(argparse.Namespace(**vars(args), device=device)), deadline, 0.0

    def __call__(self, task: tuple) -> dict | None:
        start = time.time()
        if start + self.longest > self.deadline:
            return None
        row = self.run(task)
        seconds = time.time() - start
        self.longest = max(self.longest, seconds)
        return row | dict(seconds=seconds)


_of_this_process: _Timed | None = None


def _start_worker(make: Callable[[argparse.Namespace], Run], args: argparse.Namespace, devices: Queue, deadline: float) -> None:
    global _of_this_process
    torch.set_num_threads(1)
    _of_this_process = _Timed(make, args, devices.get(), deadline)


def _work(task: tuple) -> dict | None:
    return _of_this_process(task)


def _results(tasks: list[tuple], make: Callable[[argparse.Namespace], Run],
             args: argparse.Namespace) -> Iterator[tuple[tuple, Callable[[], dict | None]]]:
    """Tasks in the order in which they end, and what gives their figures or raises their error."""
    deadline = time.time() + args.limit
    places = args.devices * args.workers
    if len(places) == 1:
        run = _Timed(make, args, places[0], deadline)
        yield from ((task, partial(run, task)) for task in tasks)
        return
    context = get_context('spawn')
    devices = context.Queue()
    for device in places:
        devices.put(device)
    with ProcessPoolExecutor(len(places), context, _start_worker, (make, args, devices, deadline)) as pool:
        running = {pool.submit(_work, task): task for task in tasks}
        yield from ((running[future], future.result) for future in as_completed(running))


def run_all(names: tuple[str, ...], tasks: list[tuple], make: Callable[[argparse.Namespace], Run], shown: dict[str, str],
            args: argparse.Namespace) -> None:
    """Print a row of figures for each task when it has ended, and write all to ``--json``. A run that fails does not end the others.

    Args:
        names: What the fields of a task are.
        tasks: What to run.
        make: Gives the function that runs a task, once in each process.
        shown: Figures to print and their titles.
        args: Options, those of :func:`add_options` among them.

    Raises:
        SystemExit: A run failed; after all others.
    """
    names_of = [torch.cuda.get_device_name(device) if torch.device(device).type == 'cuda' else 'CPU' for device in args.devices]
    print(f'{", ".join(names_of)}, torch {torch.__version__}, {args.dtype}, {args.workers} at once on each\n')
    titles = [*names, *shown.values(), 's']
    print(f'| {" | ".join(titles)} |\n|{"---|" * len(titles)}', flush=True)
    rows, failed = [], []
    for task, ended in _results(tasks, make, args):
        try:
            row = ended()
        except Exception as error:
            failed.append(task)
            print(f'{task} failed: {error!r}', flush=True)
            continue
        if row is None:
            print(f'no time left for {task}', flush=True)
            continue
        rows.append(dict(zip(names, task, strict=True)) | row)
        cells = [str(field) for field in task] + [f'{row[key]:.4g}' for key in (*shown, 'seconds')]
        print(f'| {" | ".join(cells)} |', flush=True)
        if args.json:
            with open(args.json, 'w') as file:
                json.dump(dict(options={key: str(value) for key, value in vars(args).items()}, rows=rows), file, indent=1)
    if failed:
        raise SystemExit(f'failed: {failed}')
