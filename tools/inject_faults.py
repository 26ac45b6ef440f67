"""Kill training, damage its checkpoints and fill its disk, resume it each time, and compare with a run that was left alone.

    python tools/inject_faults.py --out-dir OUT --kills 50 --writes 50 --damages 50

A small dHT-ViT with stochastic depth and augmentation is trained by mmsegmentation's own train.py, with the hooks
dht_mm.SafeCheckpointHook and dht_mm.IterationSeedHook. After every fault the run is resumed; it has survived if the loss of
every iteration and all weights and optimiser states at the end are the same bits as without a fault. Prints what was injected and
survived; exits with 1 if anything was not. Full and read-only disks are real ones (tmpfs) where this process may mount them, otherwise
a limit on the size of files and a folder without permission to write. Of two processes that train together one is killed: the launcher
must end with an error within two minutes and leave no process behind.
"""

import argparse
import json
import os
import random
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from toolkit_script import find_script
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from dht_mm.engine import whole_files

ROOT = Path(__file__).resolve().parents[1]
TOY = ROOT / 'configs/dht/segmentation/dht-vit-toy_token-head_1xb8-300i_shapes-128x128.py'
ITERATIONS = 6
HANGS = 120  # seconds after which two processes are taken to wait for ever
CONFIG = """_base_ = [{base!r}]
model = dict(backbone=dict(_delete_=True, type='dht_mm.DHTViT', arch=dict(embed_dims=24, num_layers=3, num_heads=2), img_size=32,
                           out_type='tokens', drop_path_rate=0.5), decode_head=dict(in_channels=24))
train_dataloader = dict(batch_size=2, dataset=dict(data_root={data!r}))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1e-5, begin=0, end={iterations}, by_epoch=False)]
train_cfg = dict(max_iters={iterations})
val_cfg, val_dataloader, val_evaluator = None, None, None
test_cfg, test_dataloader, test_evaluator = None, None, None
custom_hooks = [dict(type='dht_mm.IterationSeedHook')]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1, max_keep_ckpts=2))
model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None)
"""
WRITE_POINTS = ('part of a file', 'before flushing', 'before replacing', 'after replacing', 'before removing')


def prepare(folder: Path) -> Path:
    """Data and config of the runs."""
    images = ['--train', '12', '--val', '1', '--size', '32']
    subprocess.run([sys.executable, ROOT / 'tools/demo/make_shapes_dataset.py', folder / 'data', *images], check=True,
                   stdout=subprocess.DEVNULL)
    config = folder / 'config.py'
    config.write_text(CONFIG.format(base=str(TOY), data=str(folder / 'data'), iterations=ITERATIONS))
    # What every run would import for itself.
    import mmseg.utils

    import dht_mm.heads  # noqa: F401
    mmseg.utils.register_all_modules(init_default_scope=False)
    return config


class Training:
    """Training in one work folder by forked processes, from its last checkpoint on.

    Args:
        config: The config.
        folder: Its work folder.
        processes: How many train together, started by torchrun's launcher if more than one.
    """

    def __init__(self, config: Path, folder: Path, processes: int = 1):
        self.config, self.folder, self.processes, self.log = config, folder, processes, folder.parent / f'{folder.name}.log'
        self.ended = False  # known in the process that trains

    def start(self, iterations: int = ITERATIONS, arm: Callable[[], None] | None = None) -> int:
        """Start or resume; ``arm`` is called in each process that trains first. Returns the id of the new process, which leads a group."""
        process = os.fork()
        if process:
            return process
        try:
            os.setsid()
            with open(self.log, 'w') as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            (self.train if self.processes == 1 else self.launch)(iterations, arm)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)

    def launch(self, iterations: int, arm: Callable[[], None] | None) -> None:
        """What torchrun does, but the processes that train are forked too, which spares their imports."""
        signal.alarm(HANGS)
        elastic_launch(LaunchConfig(1, 1, self.processes, DefaultLogsSpecs(str(self.folder.with_suffix('.launch'))), max_restarts=0,
                                    rdzv_backend='c10d', rdzv_endpoint='localhost:0', start_method='fork'), self.train)(iterations, arm)

    def train(self, iterations: int, arm: Callable[[], None] | None) -> None:
        if arm is not None:
            arm()
        sys.argv[1:] = [str(self.config), '--work-dir', str(self.folder), '--resume', '--cfg-options', f'train_cfg.max_iters={iterations}']
        if self.processes > 1:
            sys.argv[2:2] = ['--launcher', 'pytorch']
            dist.init_process_group('gloo')  # mmengine's launcher only starts on GPUs, but takes the group that is there
        runpy.run_path(str(find_script(str(self.config), 'train.py')), run_name='__main__')
        self.ended = True

    def run(self, iterations: int = ITERATIONS, arm: Callable[[], None] | None = None) -> int:
        """Run to the end. Returns the exit status, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.start(iterations, arm), 0)[1])

    def result(self) -> tuple[dict[int, float], dict]:
        """The loss of each iteration and the last checkpoint's states."""
        losses = {}
        for path in sorted(self.folder.glob('*/vis_data/*.json')):
            for line in path.read_text().splitlines():
                if line.endswith('}') and 'loss' in (entry := json.loads(line)):
                    losses[entry['step']] = entry['loss']
        checkpoint = torch.load(self.folder / f'iter_{ITERATIONS}.pth', weights_only=True)
        return losses, {key: checkpoint[key] for key in ('state_dict', 'optimizer', 'param_schedulers')}

    def checkpoints(self) -> list[Path]:
        """Those in the folder, the oldest first."""
        return sorted(self.folder.glob('iter_*.pth'))


def same(one: object, other: object) -> bool:
    """Whether nested containers are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm_kill(point: str, call: int, share: float) -> Callable[[], None]:
    """Die at the given point of the given call: when that share of a file is written, or around the calls that follow."""
    calls = Counter()

    def reached(name: str) -> bool:
        calls[name] += 1
        return name == point and calls[name] == call

    def patched(function: Callable, before: str, after: str = '') -> Callable:
        def call_or_die(*args: object, **kwargs: object) -> object:
            if reached(before):
                die()
            result = function(*args, **kwargs)
            if after and reached(after):
                die()
            return result
        return call_or_die

    def open_or_die(path: Path, mode: str) -> object:
        file = open(path, mode)
        if mode == 'wb' and reached('part of a file'):
            file_write = file.write
            return _Dying(file, lambda data: (file_write(data[:int(share * len(data))]), file.flush(), die()))
        return file

    def arm() -> None:
        whole_files.open = open_or_die
        os.fsync = patched(os.fsync, 'before flushing')
        os.replace = patched(os.replace, 'before replacing', 'after replacing')
        Path.unlink = patched(Path.unlink, 'before removing')

    return arm


class _Dying:
    """A file whose ``write`` is another."""

    def __init__(self, file: object, write: Callable):
        self._file, self.write = file, write

    def __enter__(self) -> '_Dying':
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def kill_anywhere(training: Training, draw: random.Random, seconds: float) -> bool:
    process = training.start()
    time.sleep(draw.uniform(0, seconds))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return training.run() == 0


def kill_in_writing(training: Training, draw: random.Random, seconds: float) -> bool:
    point = draw.choice(WRITE_POINTS)
    files = 2 * ITERATIONS  # a checkpoint and the name of the last one
    most = {'before flushing': 2 * files, 'before removing': ITERATIONS - 2}.get(point, files)
    status = training.run(arm=arm_kill(point, draw.randint(1, most), draw.random()))
    return status == -signal.SIGKILL and training.run() == 0


def kill_one_of_two(training: Training, draw: random.Random, seconds: float) -> bool:
    """At any time of the run, or within about an iteration of one that is drawn: starting takes most of the time."""
    iteration, status = draw.randrange(ITERATIONS), 0
    begun, most = (training.folder / f'iter_{iteration}.pth', seconds / 20) if iteration else (training.config, seconds)
    while status == 0:  # again if it had ended before
        shutil.rmtree(training.folder, ignore_errors=True)
        process = training.start(arm=partial(die_after, training, begun, draw.uniform(0, most), draw.randrange(2)))
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    # The launcher names the process that it finds dead first: the one killed, or the other for its lost connection.
    told = any(text in training.log.read_text() for text in ('Signal 9 (SIGKILL)', 'Connection reset by peer', 'Connection closed by peer'))
    return status == 1 and told and not outlived(process) and training.run() == 0


def die_after(training: Training, begun: Path, seconds: float, rank: int) -> None:
    """Kill the process of that rank some seconds after there is a file, if it is still in training then."""
    def wait() -> None:
        while not begun.exists():
            time.sleep(0.005)
        time.sleep(seconds)
        if not training.ended:
            die()

    if int(os.environ['RANK']) == rank:
        threading.Thread(target=wait, daemon=True).start()


def outlived(group: int) -> bool:
    """Whether any process of a group is still there after ten seconds; it is killed then."""
    try:
        for _ in range(100):
            os.killpg(group, 0)
            time.sleep(0.1)
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def damage(training: Training, draw: random.Random, seconds: float) -> bool:
    """Cut or change the last checkpoint: an error that names it, and the one before is good. A byte that is not read may change."""
    if training.run(ITERATIONS - 2) != 0:
        return False
    path = training.checkpoints()[-1]
    data = bytearray(path.read_bytes())
    if draw.random() < 0.5:
        data = data[:draw.randrange(len(data))]
    else:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    if training.run() == 0:
        return True
    if f'{path} is damaged' not in training.log.read_text() and f'{path} cannot be read' not in training.log.read_text():
        return False
    Path(training.folder, 'last_checkpoint').write_text(str(training.checkpoints()[-2]))
    return training.run() == 0


def fails_at(training: Training, messages: tuple[str, ...], arm: Callable[[], None] | None = None) -> bool:
    """Whether resuming fails with one of the messages and the work folder's name, and leaves the checkpoints as they were."""
    before = {path: path.read_bytes() for path in (*training.checkpoints(), training.folder / 'last_checkpoint')}
    failed = training.run(arm=arm) == 1
    last = [line for line in training.log.read_text().splitlines() if 'Error' in line][-1:]
    named = bool(last) and str(training.folder) in last[0] and any(message in last[0] for message in messages)
    return failed and named and all(path.read_bytes() == data for path, data in before.items())


def fill_disk(training: Training, draw: random.Random, seconds: float) -> bool:
    with mounted(training.folder) as mount:
        if training.run(ITERATIONS - draw.randint(1, 3)) != 0:
            return False
        size = training.checkpoints()[-1].stat().st_size
        if mount:
            used = shutil.disk_usage(training.folder).used
            mount(f'size={used + draw.randrange(size // 4, size - 8192)}')
            filled = fails_at(training, ('No space left on device',))
            mount('size=50%')
        else:
            limit = draw.randrange(size // 4, size)
            filled = fails_at(training, ('File too large',), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        return filled and training.run() == 0 and keep_result(training)


def forbid_writing(training: Training, draw: random.Random, seconds: float) -> bool:
    with mounted(training.folder) as mount:
        if training.run(ITERATIONS - draw.randint(1, 3)) != 0:
            return False
        mount('ro') if mount else training.folder.chmod(0o555)
        refused = fails_at(training, ('Read-only file system', 'Permission denied'))
        mount('rw') if mount else training.folder.chmod(0o755)
        return refused and training.run() == 0 and keep_result(training)


def keep_result(training: Training) -> bool:
    """Copy what is on a disk of its own, which goes away."""
    kept = training.folder.with_name(f'{training.folder.name}_kept')
    shutil.copytree(training.folder, kept)
    training.folder = kept
    return True


@contextmanager
def mounted(folder: Path) -> Callable[[str], object] | None:
    """A small disk at ``folder``; gives a function that changes its options, or None if this process may not mount."""
    folder.mkdir()

    def change(options: str) -> int:
        return subprocess.run(['mount', '-o', f'remount,{options}', str(folder)], check=True).returncode

    try:
        done = subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', str(folder)], stderr=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        done = False
    try:
        yield change if done else None
    finally:
        if done:
            subprocess.run(['umount', str(folder)], check=True)


# How a fault is made, and in how many processes.
FAULTS = dict(kills=(kill_anywhere, 1), writes=(kill_in_writing, 1), damages=(damage, 1), full_disks=(fill_disk, 1),
              read_only=(forbid_writing, 1), one_of_two=(kill_one_of_two, 2))


def run_alone(training: Training) -> tuple[float, tuple[dict, dict]]:
    """Seconds and result of a run without faults."""
    began = time.monotonic()
    if training.run() != 0:
        raise SystemExit(training.log.read_text())
    return time.monotonic() - began, training.result()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out-dir', type=Path, required=True, help='new folder; kept where something did not survive')
    parser.add_argument('--seed', type=int, default=0, help='seed of what is drawn (default: 0)')
    for name in FAULTS:
        parser.add_argument(f'--{name.replace("_", "-")}', type=int, default=1, help='how many (default: 1)')
    args = parser.parse_args()
    folder = args.out_dir.resolve()
    folder.mkdir(parents=True)
    config, draw = prepare(folder), random.Random(args.seed)
    began, survived = time.monotonic(), Counter()
    total = {name: getattr(args, name) for name in FAULTS}
    alone = {processes: run_alone(Training(config, folder / f'alone_{processes}', processes))
             for processes in {FAULTS[name][1] for name, count in total.items() if count}}
    for name, (fault, processes) in FAULTS.items():
        for number in range(total[name]):
            training = Training(config, folder / f'{name}_{number}', processes)
            seconds, expected = alone[processes]
            if fault(training, draw, seconds) and same(training.result(), expected):
                survived[name] += 1
                shutil.rmtree(training.folder, ignore_errors=True)
    print(json.dumps(dict(injected=total, survived=dict(survived), seconds=round(time.monotonic() - began, 1))))
    return int(any(survived[name] < count for name, count in total.items()))


if __name__ == '__main__':
    sys.exit(main())
