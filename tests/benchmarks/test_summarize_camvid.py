"""benchmarks/segmentation/summarize.py makes tables and plots of runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / 'benchmarks/segmentation/summarize.py'
SCORES = dict(trimap_1=1.0, trimap_3=2.0, trimap_5=3.0, boundary=4.0, oracle=5.0)


def test_means_over_seeds_replace_the_figures(tmp_path: Path):
    pytest.importorskip('matplotlib')
    runs = ('plain', 300, 60, 3), ('grid:window:sub', 300, 61.04, 1), ('plain', 154, 50, 2)
    rows = [dict(variant=name, T=tokens, seed=seed, miou=miou + seed, **SCORES)
            for name, tokens, miou, seeds in runs for seed in range(seeds)]
    times = [dict(variant='plain', T=300, ms_per_step=12.34, images_per_s=999.9)]
    files = {name: tmp_path / f'{name}.json' for name in ('runs', 'times', 'results')}
    files['runs'].write_text(json.dumps(dict(rows=rows)))
    files['times'].write_text(json.dumps(dict(rows=times)))
    files['results'].write_text(json.dumps(dict(title='CamVid ±', page='docs/x.md', setting='', command='', columns=['old'], rows=[])))
    subprocess.run([sys.executable, str(SCRIPT), str(files['runs']), '--times', str(files['times']), '--results', str(files['results']),
                    '--plot', str(tmp_path / 'plot.png')], check=True)
    written = json.loads(files['results'].read_text())
    assert written['title'] == 'CamVid ±'
    assert written['columns'] == ['T', 'name', 'seeds', 'mIoU', '1 px', '3 px', '5 px', 'boundary IoU', 'ceiling', 'ms a step', 'images/s']
    same = ['1.0', '2.0', '3.0', '4.0', '5.0']
    assert written['rows'] == [['154', '`plain`', '2', '50.5 ± 0.7', *same, '', ''],
                               ['300', '`plain`', '3', '61.0 ± 1.0', *same, '12.3', '1000'],
                               ['300', '`grid:window:sub`', '1', '61.0', *same, '', '']]
    assert (tmp_path / 'plot.png').read_bytes().startswith(b'\x89PNG')
