"""The program that sanitizers watch runs every compiled kernel."""

import re
from pathlib import Path

import pytest

from dht_mm.ops import backend_info

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not backend_info()['loaded'], reason='needs the compiled operators')
def test_every_compiled_operator_is_called(monkeypatch):
    import exercise_kernels
    from torch.autograd.profiler import profile

    monkeypatch.setattr('sys.argv', ['exercise_kernels.py', '--device', 'cpu'])
    monkeypatch.setattr(exercise_kernels, 'SIZES', exercise_kernels.SIZES[1:2])
    with profile() as found:
        exercise_kernels.main()
    called = {event.name.removeprefix('dht_mm_ext::') for event in found.function_events if event.name.startswith('dht_mm_ext::')}
    operators = set(re.findall(r'm\.def\(\s*"(\w+)\(', (ROOT / 'dht_mm/ops/csrc/schema.cpp').read_text()))
    assert operators - called == {'build_fixed_hierarchy'}, 'on a CPU the hierarchy of a fixed length is taken from the other'
