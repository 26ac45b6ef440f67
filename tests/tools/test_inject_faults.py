"""Training by the toolkit's own script survives one fault of each kind."""

import json
from pathlib import Path

from config_runs import ROOT, run


def test_one_fault_of_each_kind_is_survived(tmp_path: Path):
    output = run(tmp_path, ROOT / 'tools/inject_faults.py', '--out-dir', tmp_path / 'runs')
    result = json.loads(output.splitlines()[-1])
    assert result['survived'] == result['injected'] and min(result['injected'].values()) == 1
