"""Where the time of the tokenizer, or of a training step up to the blocks, goes on a GPU: time and memory traffic of every kernel.

    python benchmarks/ops/kernels.py --images ../shared/images --checkpoint TOKENIZER.pth --batch 128 --size 224

Times are those of torch's profiler, a mean of several runs. With --traffic, bytes between chip and memory are read from hardware
counters by Nsight Compute (`ncu`), which takes half a minute.
"""

import argparse
import csv
import io
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from common import Front, build_tokenizer, parser, photographs, training_step
from torch.profiler import ProfilerActivity, profile

RUNS = 5
METRICS = 'dram__bytes_read.sum,dram__bytes_write.sum'
ONCE = '--once'


def parse_args() -> argparse.Namespace:
    result = parser(__doc__)
    result.add_argument('--batch', type=int, default=128)
    result.add_argument('--size', type=int, default=224, help='side of the images (default: %(default)s)')
    result.add_argument('--peak', type=float, default=4.3, help='TB/s of a copy on the device (default: %(default)s, an H200)')
    result.add_argument('--train', choices=('frozen', 'batch'),
                        help='a training step of tokenizer, injection, features and embedding, with this kind of batch norm')
    result.add_argument('--traffic', action='store_true', help='count the bytes that kernels move')
    result.add_argument(ONCE, action='store_true', help='only run the tokenizer, for an outer profiler')
    return result.parse_args()


def make_run(args: argparse.Namespace) -> Callable[[], object]:
    """What to profile, as a call."""
    tokenizer = build_tokenizer(args)
    images = photographs(args.images, args.batch, args.size, args.size, args.device)
    if args.train is None:
        return torch.inference_mode()(lambda: tokenizer(images))
    tokenizer.norm_eval = args.train == 'frozen'
    return training_step(Front(tokenizer, args.size).to(args.device).train(), images)


def short(name: str) -> str:
    """A kernel's name without namespaces, template arguments and parameters."""
    name = name.removeprefix('void ').replace('(anonymous namespace)::', '')
    return name.split('(')[0].split('<')[0].split('::')[-1][:44]


def kernel_times(run: Callable[[], object]) -> dict[str, tuple[float, float]]:
    """Launches and microseconds of each kernel in one run."""
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU], acc_events=True) as found:
        for _ in range(RUNS):
            run()
        torch.cuda.synchronize()
    times = defaultdict(lambda: (0.0, 0.0))
    for event in found.key_averages():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            launches, total = times[short(event.key)]
            times[short(event.key)] = launches + event.count / RUNS, total + event.self_device_time_total / RUNS
    return times


def kernel_traffic() -> dict[str, float]:
    """Bytes that each kernel moves between chip and memory in one run, by hardware counters."""
    command = ['ncu', '--csv', '--metrics', METRICS, '--clock-control', 'none', '--cache-control', 'none', '--profile-from-start', 'off',
               sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], ONCE]
    out = subprocess.run(command, capture_output=True, text=True).stdout
    table = out[out.find('"ID"'):] if '"ID"' in out else ''
    traffic = defaultdict(float)
    for row in csv.DictReader(io.StringIO(table)):
        unit = {'byte': 1, 'Kbyte': 1e3, 'Mbyte': 1e6, 'Gbyte': 1e9}[row['Metric Unit']]
        traffic[short(row['Kernel Name'])] += float(row['Metric Value'].replace(',', '')) * unit
    return traffic


def main() -> None:
    args = parse_args()
    run = make_run(args)
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    if args.once:
        torch.cuda.profiler.start()
        run()
        torch.cuda.synchronize()
        torch.cuda.profiler.stop()
        return
    times, traffic = kernel_times(run), kernel_traffic() if args.traffic else {}
    print(f'{torch.cuda.get_device_name()}, {args.size} x {args.size}, batch {args.batch}, '
          f'{"training, batch norm " + args.train if args.train else "evaluation"}')
    print(f'{"kernel":44} {"launches":>8} {"us":>8} {"MB":>8} {"TB/s":>6} {"of peak":>8}')
    for name, (launches, us) in sorted(times.items(), key=lambda item: -item[1][1]):
        moved = traffic.get(name, float('nan'))
        speed = moved / us / 1e6
        print(f'{name:44} {launches:8.0f} {us:8.1f} {moved / 1e6:8.1f} {speed:6.2f} {speed / args.peak:8.1%}')
    total, moved = sum(us for _, us in times.values()), sum(traffic.values())
    print(f'{"all":44} {sum(count for count, _ in times.values()):8.0f} {total:8.1f} {moved / 1e6:8.1f} {moved / total / 1e6:6.2f}')
    if traffic:
        print(f'all traffic at {args.peak} TB/s would take {moved / args.peak / 1e6:.1f} us')


if __name__ == '__main__':
    main()
