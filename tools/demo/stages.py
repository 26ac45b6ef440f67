"""Steps of a long job that are done once: a finished one is skipped, an interrupted one starts over in an empty folder."""

import fcntl
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

STAMP = 'complete.json'
LOG = 'output.log'
LOCK = '.lock'
LAST_LINES = 20
ITERATION = re.compile(r'\((train|test)\)\s*\[\s*(\d+)/(\d+)\]')
SHOWN = ('loss', 'acc_seg', 'regions', 'eta')


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Makes a folder and keeps other runs out of it; ends a second one. The lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f'another run is writing to {folder}') from None
        yield


def run_once(folder: Path, title: str, key: str, action: Callable[[], None]) -> float:
    """Fills a folder, unless it is there and was made from the same key.

    The folder is emptied first, and its stamp is written last and as a whole, so that what an interruption or a full disk leaves
    behind is never taken for a result.

    Args:
        folder: What the step makes; nothing else may be in it.
        title: Printed with the time that the step took.
        key: Everything that the result depends on.
        action: Fills the folder.

    Returns:
        Seconds that the step took, now or when it was done.
    """
    stamp = folder / STAMP
    record = json.loads(stamp.read_text()) if stamp.is_file() else {}
    if record.get('key') == key:
        print(f'{title}: already there')
        return record['seconds']
    print(f'{title} ...', flush=True)
    stamp.unlink(missing_ok=True)  # first, in case that emptying the folder is interrupted
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.monotonic()
    action()
    seconds = time.monotonic() - start
    partial = folder / f'{STAMP}.partial'
    partial.write_text(json.dumps(dict(key=key, seconds=seconds)))
    partial.replace(stamp)
    print(f'  {seconds:.0f} s', flush=True)
    return seconds


def run_script(command: Sequence[str | Path], log: Path) -> None:
    """Runs a toolkit's script with its whole output in a log and its progress on the screen.

    Args:
        command: The script and its arguments, for this Python.
        log: File to write.

    Raises:
        SystemExit: The script failed; the message holds the end of its output.
    """
    words = [str(word) for word in command]
    print('  $ python', ' '.join(words), flush=True)
    with log.open('w') as file, subprocess.Popen(
            [sys.executable, '-W', 'ignore', *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            for line in process.stdout:
                file.write(line)
                show_progress(line)
        except BaseException:
            process.terminate()
            raise
    if sys.stdout.isatty():
        print()
    if process.returncode:
        end = log.read_text().splitlines()[-LAST_LINES:]
        raise SystemExit('\n'.join([*end, f'{words[0]} failed; its whole output: {log}']))


def show_progress(line: str) -> None:
    """Prints the essentials of a line that a toolkit logs in training or testing; over the last one if on a terminal."""
    match = ITERATION.search(line)
    if match is None:
        return
    mode, step, steps = match.groups()
    values = (re.search(rf'\b{name}: +(\S+)', line) for name in SHOWN)
    text = '  '.join([f'  {mode} {step:>4}/{steps}', *(f'{found.group(0)}' for found in values if found)])
    terminal = sys.stdout.isatty()
    print(f'\r{text:<100}' if terminal else text, end='' if terminal else '\n', flush=True)
