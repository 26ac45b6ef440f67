"""benchmarks/classification/imagenette.py trains and scores on a made-up archive."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dht_mm.tokenizer import DHTTokenizer

SCRIPT = Path(__file__).resolve().parents[2] / 'benchmarks/classification/imagenette.py'


def pack(path: Path) -> None:
    """Six images a split: dark ones of class a, bright ones of class b."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, 'w') as archive:
        for split in ('train', 'val'):
            for index in range(6):
                data = io.BytesIO()
                pixels = random.integers(0, 100, (32, 32, 3)) + 150 * (index % 2)
                Image.fromarray(pixels.astype(np.uint8)).save(data, 'JPEG')
                archive.writestr(f'set/{split}/{"ab"[index % 2]}/{index}.JPEG', data.getvalue())


def test_runs_are_scored(tmp_path: Path):
    pack(tmp_path / 'data.zip')
    torch.save(DHTTokenizer().state_dict(), tmp_path / 'tokenizer.pth')
    variants = ['plain', 'hard:box', 'hard:box+gradient:e2e']
    options = ['--data', str(tmp_path / 'data.zip'), '--tokenizer', str(tmp_path / 'tokenizer.pth'), '--devices', 'cpu', 'cpu',
               '--patch', '8', '--epochs', '2', '--every', '1', '--batch', '3', '--json', str(tmp_path / 'out.json'),
               '--variants', *variants]
    subprocess.run([sys.executable, str(SCRIPT), *options], cwd=SCRIPT.parents[2], check=True, capture_output=True, text=True)
    rows = json.loads((tmp_path / 'out.json').read_text())['rows']
    assert {row['variant'] for row in rows} == set(variants)
    for row in rows:
        assert row['tokens'] == 16 and row['epochs_done'] == 2 and [point[0] for point in row['curve']] == [1, 2]
        assert all(0 <= row[name] <= 100 for name in ('accuracy', 'knn')) and all(np.isfinite(point[2]) for point in row['curve'])
    results = tmp_path / 'results.json'
    results.write_text(json.dumps(dict(title='of old', columns=['', 'old'], rows=[['old', '1']])))
    table = [sys.executable, str(SCRIPT.parent / 'imagenette_table.py'), str(tmp_path / 'out.json')]
    subprocess.run([*table, '--into', str(results)], check=True)
    written = json.loads(results.read_text())
    assert written['title'] == 'of old' and 'rows' not in written
    assert written['columns'] == ['', 'seeds', '1 epochs', '2', '20-NN at 2']
    assert list(written['runs']) == ['plain ViT', 'dHT-ViT, tokenizer frozen', 'dHT-ViT, end to end, gradient features']
    plain, = (row for row in rows if row['variant'] == 'plain')
    assert written['runs']['plain ViT'] == [[round(value, 2) for value in (*(point[1] for point in plain['curve']), plain['knn'])]]
    again = subprocess.run([*table, str(tmp_path / 'out.json'), '--into', str(results)], capture_output=True, text=True)
    assert again.returncode and "('plain', 0) comes again" in again.stderr
