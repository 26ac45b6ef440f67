"""The benchmarks of the backbone run, and print and write what they measure."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / 'benchmarks/backbone'
TINY = ['--device', 'cpu', '--archs', 'tiny', '--batch', '2', '--size', '32', '--runs', '1', '--steps', '1']
pytest.importorskip('timm', reason='the plain ViT is timm\'s')


def run(script: str, *options: str) -> str:
    command = [sys.executable, str(FOLDER / script), *options]
    return subprocess.run(command, cwd=FOLDER.parents[1], check=True, capture_output=True, text=True).stdout


def run_tiny(script: str, tmp_path: Path, *options: str) -> list[dict]:
    """The rows that a script writes for small noise images."""
    for index in range(2):
        noise = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((48, 40), Image.Resampling.BICUBIC).save(tmp_path / f'{index}.png')
    printed = run(script, *TINY, '--images', str(tmp_path), '--json', str(tmp_path / 'out.json'), *options)
    rows = json.loads((tmp_path / 'out.json').read_text())['rows']
    assert all(f'| {row["model"]} |' in printed for row in rows)
    return rows


def test_training(tmp_path: Path):
    rows = run_tiny('train.py', tmp_path, '--tokens', '5', '--eager-only', '--graph')
    assert [row['blocks'] for row in rows] == ['eager', 'eager + graph']
    rows += run_tiny('train.py', tmp_path, '--tokens', '5', '--eager-only', '--frozen')
    assert [row['tokenizer'] for row in rows] == ['trained', 'trained', 'frozen']
    for row in rows:
        assert row['plain_tokens'] == 5 and abs(row['tokens'] - 5) <= 1
        assert row['ratio'] == pytest.approx(row['step_ms'] / row['plain_step_ms']) and row['memory_mib'] is None


def test_evaluation(tmp_path: Path):
    results = tmp_path / 'results.json'
    results.write_text(json.dumps(dict(title='of old', columns=['old'], rows=[['1']])))
    rows = run_tiny('evaluate.py', tmp_path, '--tokens', '5', '10', '--eager-only', '--into', str(results))
    assert [round(row['tokens']) for row in rows] == [row['equal_tokens'] for row in rows] == [5, 10]
    for row in rows:
        assert row['ratio'] == pytest.approx(row['batch_ms'] / row['plain_batch_ms'])
        assert row['equal_ratio'] == pytest.approx(row['batch_ms'] / row['equal_batch_ms'])
    written = json.loads(results.read_text())
    assert written['title'] == 'of old' and written['columns'][5] == 'time by that of the plain ViT of 5 tokens'
    assert [row[:2] for row in written['rows']] == [['dHT-tiny/16, eager', '5'], ['dHT-tiny/16, eager', '10']]
    assert all(len(row) == len(written['columns']) for row in written['rows'])


def test_complexity():
    table = run('complexity.py', '--archs', 'small', '--size', '64')
    assert '16 regions' in table and '| dHT-S/16 | 21.' in table
