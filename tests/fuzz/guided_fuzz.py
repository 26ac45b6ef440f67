"""Cases that are led by the lines of this package that they reach (``make fuzz-guided``): atheris, libFuzzer for Python.

    python -m pip install atheris
    python tests/fuzz/guided_fuzz.py pictures -max_total_time=300 FOLDER

Targets are those of run_fuzz.py; a case is made of the bytes that libFuzzer hands over. What follows the target are libFuzzer's options
and folders of inputs to begin with, the first of which takes new ones. The input of a case that fails is written into the current folder
as crash-...; name that file instead of a folder to run it again. Compiled kernels are called but not followed.
"""

import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (2, 1)]  # the checkout, and the helpers of its tests
with atheris.instrument_imports(include=['dht_mm']):
    from run_fuzz import TARGETS, load

    RUNS = {name: load(name) for name in TARGETS}

import torch  # noqa: E402


class GuidedDraws:
    """Choices that libFuzzer makes.

    Args:
        content: The bytes of the case; choices beyond their end are the lowest.
    """

    def __init__(self, content: bytes):
        self._content = atheris.FuzzedDataProvider(content)

    def integer(self, low: int, high: int) -> int:
        """One of ``low`` to ``high``, ends included."""
        return self._content.ConsumeIntInRange(low, high)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in RUNS:
        raise SystemExit(f'{__doc__}\nthe first argument must be one of {", ".join(RUNS)}, got {sys.argv[1:2]}')
    run = RUNS[sys.argv.pop(1)]
    torch.set_num_threads(1)

    def case(content: bytes) -> None:
        torch.manual_seed(0)
        run(GuidedDraws(content))

    atheris.Setup(sys.argv, case)
    atheris.Fuzz()


if __name__ == '__main__':
    main()
