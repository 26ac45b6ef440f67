"""Runs of an experiment, one after the other or several at once, until time is up."""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import torch
from mmengine.logging import MMLogger

Run = Callable[[tuple], dict]  # a task to its figures


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every experiment."""
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument('--limit', type=float, default=float('inf'), help='seconds for all runs: none is begun that would not end')
    parser.add_argument('--workers', type=int, default=1, help='runs at once; their times say nothing then (default: 1)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dtype', choices=('bfloat16', 'float32'), default='bfloat16', help='of autocast; float32 is without')
    parser.add_argument('--json', help='file to write all figures to, after every run')


def autocast(args: argparse.Namespace) -> torch.autocast:
    """The precision asked for."""
    return torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.dtype == 'bfloat16')


def wait(args: argparse.Namespace) -> float:
    """The time when the device is done."""
    if torch.device(args.device).type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter()


class _Timed:
    """Runs that begin only if the longest one so far would end in time."""

    def __init__(self, make: Callable[[argparse.Namespace], Run], args: argparse.Namespace, deadline: float):
        MMLogger.get_current_instance().setLevel('ERROR')  # the constructor of optimizers reports every parameter
        self.run, self.deadline, self.longest = make(args), deadline, 0.0

    def __call__(self, task: tuple) -> dict | None:
        start = time.time()
        if start + self.longest > self.deadline:
            return None
        row = self.run(task)
        seconds = time.time() - start
        self.longest = max(self.longest, seconds)
        return row | dict(seconds=seconds)


_of_this_process: _Timed | None = None


def _start_worker(*arguments: object) -> None:
    global _of_this_process
    torch.set_num_threads(1)
    _of_this_process = _Timed(*arguments)


def _work(task: tuple) -> dict | None:
    return _of_this_process(task)


def _results(tasks: list[tuple], make: Callable[[argparse.Namespace], Run],
             args: argparse.Namespace) -> Iterator[tuple[tuple, dict | None]]:
    deadline = time.time() + args.limit
    if args.workers == 1:
        run = _Timed(make, args, deadline)
        yield from ((task, run(task)) for task in tasks)
        return
    with ProcessPoolExecutor(args.workers, get_context('spawn'), _start_worker, (make, args, deadline)) as pool:
        running = {pool.submit(_work, task): task for task in tasks}
        yield from ((running[future], future.result()) for future in as_completed(running))


def run_all(names: tuple[str, ...], tasks: list[tuple], make: Callable[[argparse.Namespace], Run], shown: dict[str, str],
            args: argparse.Namespace) -> None:
    """Print a row of figures for each task when it has ended, and write all to ``--json``.

    Args:
        names: What the fields of a task are.
        tasks: What to run.
        make: Gives the function that runs a task, once in each process.
        shown: Figures to print and their titles.
        args: Options, those of :func:`add_options` among them.
    """
    on_gpu = torch.device(args.device).type == 'cuda'
    print(f'{torch.cuda.get_device_name() if on_gpu else "CPU"}, torch {torch.__version__}, {args.dtype}, {args.workers} at once\n')
    titles = [*names, *shown.values(), 's']
    print(f'| {" | ".join(titles)} |\n|{"---|" * len(titles)}', flush=True)
    rows = []
    for task, row in _results(tasks, make, args):
        if row is None:
            print(f'no time left for {task}', flush=True)
            continue
        rows.append(dict(zip(names, task, strict=True)) | row)
        cells = [str(field) for field in task] + [f'{row[key]:.4g}' for key in (*shown, 'seconds')]
        print(f'| {" | ".join(cells)} |', flush=True)
        if args.json:
            with open(args.json, 'w') as file:
                json.dump(dict(options={key: str(value) for key, value in vars(args).items()}, rows=rows), file, indent=1)
