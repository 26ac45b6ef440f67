"""benchmarks/superpixels/compare.py matches numbers of regions and prints what it measures, on a made-up data set."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from dht_mm.metrics import num_regions
from dht_mm.tokenizer import DHTTokenizer

SCRIPT = Path(__file__).resolve().parents[2] / 'benchmarks/superpixels/compare.py'
pytest.importorskip('skimage')


@pytest.fixture(scope='module')
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location('compare_superpixels', SCRIPT)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bisection_finds_the_nearest_number(script: ModuleType):
    def segment(parameter: int) -> np.ndarray:
        return np.arange(1000).reshape(20, 50) // parameter

    asked = [num_regions(script.matched(segment, script.Method(None, (500, 1)), target)) for target in (3, 100, 250, 800)]
    assert asked == [3, 100, 250, 1000]
    assert num_regions(script.matched(lambda target: np.arange(20)[None] % target, script.Method(None), 7)) == 7


def test_table_and_plot(script: ModuleType, tmp_path: Path, monkeypatch, capsys):
    pytest.importorskip('matplotlib')
    random = np.random.default_rng(0)
    for folder in ('images/val', 'groundTruth/val'):
        (tmp_path / folder).mkdir(parents=True)
    for name in 'ab':
        blobs = np.kron(random.integers(0, 255, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        Image.fromarray(blobs).save(tmp_path / f'images/val/{name}.png')
        np.savez(tmp_path / f'groundTruth/val/{name}.npz', segmentations=random.integers(1, 5, (2, 48, 64), np.uint16))
    torch.save(DHTTokenizer().state_dict(), tmp_path / 'tokenizer.pth')
    monkeypatch.setattr(sys, 'argv', ['x', '--data', str(tmp_path), '--published', str(tmp_path / 'tokenizer.pth'), '--regions', '6', '12',
                                      '--scores', str(tmp_path / 'scores.jsonl'), '--plot', str(tmp_path / 'plot.png')])
    script.main()
    lines = capsys.readouterr().out.splitlines()
    kept = (tmp_path / 'scores.jsonl').read_text()
    assert len(kept.splitlines()) == 2 * len(lines[4:])  # of two images
    script.main()
    assert capsys.readouterr().out.splitlines() == lines and (tmp_path / 'scores.jsonl').read_text() == kept
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines[4:]]
    assert [row[0] for row in rows] == ['6'] * (len(rows) // 2) + ['12'] * (len(rows) // 2)
    assert {'dHT, exact budget', 'published, soft budget', 'grid', 'quadtree', 'SLIC, scikit-image', 'Felzenszwalb'} <= {
        row[1] for row in rows}
    assert all(int(row[2]) <= int(row[0]) for row in rows if row[1] in ('dHT, exact budget', 'dHT, hard budget', 'quadtree'))
    assert np.array(Image.open(tmp_path / 'plot.png').convert('RGB')).std() > 0


def test_unknown_methods_are_named(script: ModuleType, tmp_path: Path, monkeypatch):
    torch.save(DHTTokenizer().state_dict(), tmp_path / 'tokenizer.pth')
    monkeypatch.setattr(sys, 'argv', ['x', '--data', str(tmp_path), '--checkpoint', str(tmp_path / 'tokenizer.pth'), '--methods', 'magic'])
    with pytest.raises(SystemExit, match=r"--methods must be some of .* got \['magic'\]"):
        script.main()
