"""Runs of an experiment: the others go on when one fails or no time is left."""

import argparse
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / 'benchmarks/experiments'


def test_a_failed_run_and_the_end_of_time_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.syspath_prepend(str(FOLDER))
    import pool

    parser = argparse.ArgumentParser()
    pool.add_options(parser)
    args = parser.parse_args(['--devices', 'cpu', '--json', str(tmp_path / 'out.json')])

    def make(own: argparse.Namespace) -> pool.Run:
        assert own.device == 'cpu'
        return lambda task: dict(half=6 / task[0])

    with pytest.raises(SystemExit, match=r'failed: \[\(0,\)\]'):
        pool.run_all(('number',), [(3,), (0,), (2,)], make, dict(half='half'), args)
    assert [(row['number'], row['half']) for row in json.loads((tmp_path / 'out.json').read_text())['rows']] == [(3, 2.0), (2, 3.0)]
    assert "(0,) failed: ZeroDivisionError('division by zero')" in capsys.readouterr().out
    args.limit = -1.0
    pool.run_all(('number',), [(3,)], make, dict(half='half'), args)
    assert 'no time left for (3,)' in capsys.readouterr().out
    sys.modules.pop('pool')
