"""Random cases by the thousand: partitions, spoiled calls, configs, pictures (``make fuzz``).

    python tests/fuzz/run_fuzz.py --cases 100000 --seed 1 --seconds 1500
    python tests/fuzz/run_fuzz.py --seed 1 --replay partitions:4711

Cases run in a process of their own; if one kills it, its number is told. Memory is measured from the time when a tenth of the cases is
done, and a run fails if it has grown by more than ``--leak-mb`` since.
"""

import argparse
import multiprocessing
import os
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (2, 1)]  # the checkout, and the helpers of its tests
TARGETS = {'partitions': ('partition_target', 100), 'calls': ('call_target', 40), 'models': ('model_target', 4),
           'pictures': ('picture_target', 10)}  # module and function of one name; how many cases of 154 are its
SHOWN = 20


def load(name: str) -> Callable:
    """The function that runs one case of a target."""
    module = TARGETS[name][0]
    return getattr(__import__(module), module)


def memory_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def schedule(names: list[str]) -> list[str]:
    """The targets of consecutive cases, in proportion to their shares."""
    turns = [((index + 0.5) / share, name) for name in names for share in [TARGETS[name][1]] for index in range(share)]
    return [name for _, name in sorted(turns)]


def work(options: argparse.Namespace, current, result) -> None:
    """Runs cases until there are enough of them or the time is over; ``current`` always holds the number of the one at work."""
    import torch
    from draws import SeededDraws

    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    order, runs = schedule(options.targets), {name: load(name) for name in options.targets}
    done, failures, start, told, number, base = Counter(), {}, time.monotonic(), 0.0, options.first, None
    while sum(done.values()) < options.cases and time.monotonic() - start < options.seconds:
        name = order[number % len(order)]
        current.value = number
        torch.manual_seed(number)
        try:
            done[name] += runs[name](SeededDraws(options.seed, number))
        except Exception as error:
            done[name] += 1
            failures.setdefault(f'{type(error).__name__}: {error}'[:100], []).append(number)
            if len(failures) <= SHOWN and len(failures[f'{type(error).__name__}: {error}'[:100]]) == 1:
                print(f'FAILED {name}:{number}\n{traceback.format_exc()}', flush=True)
        number += 1
        elapsed = time.monotonic() - start
        if base is None and (sum(done.values()) >= options.cases / 10 or elapsed >= options.seconds / 10):
            base = (sum(done.values()), memory_mb())
        if elapsed - told > options.every:
            told = elapsed
            print(f'{elapsed:6.0f} s  {sum(done.values())} cases {dict(done)}, {sum(map(len, failures.values()))} failures, '
                  f'{memory_mb():.0f} MB', flush=True)
    result.put((dict(done), {key: len(numbers) for key, numbers in failures.items()}, base, memory_mb(), time.monotonic() - start))


def replay(options: argparse.Namespace) -> None:
    """One case again, with its whole error."""
    import torch
    from draws import SeededDraws

    name, number = options.replay.split(':')
    torch.manual_seed(int(number))
    print(f'{load(name)(SeededDraws(options.seed, int(number)))} cases passed')


def run(options: argparse.Namespace) -> int:
    """The exit code: 0 if all cases passed and memory was flat."""
    context = multiprocessing.get_context('spawn')
    current, result = context.Value('q', options.first), context.SimpleQueue()
    process = context.Process(target=work, args=(options, current, result))
    process.start()
    process.join()
    if process.exitcode:
        name = schedule(options.targets)[current.value % len(schedule(options.targets))]
        print(f'process ended with {process.exitcode} in case {name}:{current.value}; --first {current.value + 1} goes on behind it')
        return 1
    done, failures, (then, before), after, seconds = result.get()
    print(f'seed {options.seed}: {sum(done.values())} cases in {seconds:.0f} s {done}; {sum(failures.values())} failures; memory '
          f'{before:.1f} MB after {then} cases, {after:.1f} MB at the end')
    for key, count in failures.items():
        print(f'  {count} x {key}')
    return int(bool(failures) or after - before > options.leak_mb)


def main() -> None:
    parser = argparse.ArgumentParser(description='Run random cases. A case is a partition of an image, a call, a model or a picture.')
    parser.add_argument('--cases', type=int, default=100000, help='how many')
    parser.add_argument('--seconds', type=float, default=1500, help='most time')
    parser.add_argument('--seed', type=int, default=0, help='a case is made of the seed and its number')
    parser.add_argument('--first', type=int, default=0, help='number of the first case')
    parser.add_argument('--every', type=float, default=30, help='seconds between lines of progress')
    parser.add_argument('--leak-mb', type=float, default=30, help='growth of memory that is no leak')
    parser.add_argument('--targets', nargs='+', choices=[*TARGETS], default=[*TARGETS], help='kinds of cases')
    parser.add_argument('--replay', metavar='TARGET:NUMBER', help='run one case again')
    options = parser.parse_args()
    if options.replay:
        replay(options)
    else:
        sys.exit(run(options))


if __name__ == '__main__':
    main()
