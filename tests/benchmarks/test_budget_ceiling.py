"""The scores of benchmarks/superpixels/budget_ceiling.py by hand, and its tables of a made-up data set."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dht_mm.tokenizer import DHTTokenizer

SCRIPT = Path(__file__).resolve().parents[2] / 'benchmarks/superpixels/budget_ceiling.py'


@pytest.fixture(scope='module')
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location('budget_ceiling', SCRIPT)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HALVES = np.array([[0, 0, 1, 1]] * 4)
QUARTERS = np.array([[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2)
LOPSIDED = np.array([[0, 1, 1, 1]] * 4)


def sample(truth: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(truths=[truth], pixels=np.repeat(HALVES[..., None], 3, 2).astype(np.uint8))


def test_bsds_scores_by_hand(script: ModuleType):
    assert script.bsds_scores([sample(HALVES)], [QUARTERS]) == [1, 0, 1, 1]
    recall, error, accuracy, variation = script.bsds_scores([sample(HALVES)], [LOPSIDED])
    assert (recall, error, accuracy) == (1, 8 / 16, 12 / 16)  # 4 pixels leak out of region 1, and region 1 out of them
    assert variation == pytest.approx((4 * 0.25 + 12 * (2 / 3 - 0.5) ** 2) / (16 * 0.25))


def test_camvid_score_by_hand(script: ModuleType):
    assert script.camvid_scores([sample(HALVES)], [QUARTERS]) == [100]
    assert script.camvid_scores([sample(HALVES)], [LOPSIDED]) == [pytest.approx(100 * np.mean([4 / 8, 8 / 12]))]
    void = np.where(LOPSIDED == 0, 255, HALVES)
    assert script.camvid_scores([sample(void)], [LOPSIDED]) == [pytest.approx(100 * np.mean([0, 8 / 12]))]


def test_tables(script: ModuleType, tmp_path: Path, monkeypatch, capsys):
    random = np.random.default_rng(0)
    for folder in ('camvid/images/test', 'camvid/annotations/test', 'bsds500/images/val', 'bsds500/groundTruth/val'):
        (tmp_path / folder).mkdir(parents=True)
    for name in 'abc':
        pixels = Image.fromarray(random.integers(0, 255, (20, 24, 3), np.uint8))
        for folder in ('camvid/images/test', 'bsds500/images/val'):
            pixels.save(tmp_path / folder / f'{name}.jpg')
        Image.fromarray(random.integers(0, 11, (20, 24), np.uint8)).save(tmp_path / f'camvid/annotations/test/{name}.png')
        np.savez(tmp_path / f'bsds500/groundTruth/val/{name}.npz', segmentations=random.integers(1, 5, (2, 20, 24), np.uint16))
    torch.save(DHTTokenizer().state_dict(), tmp_path / 'tokenizer.pth')
    monkeypatch.setattr(sys, 'argv', ['x', '--data', str(tmp_path), '--checkpoint', str(tmp_path / 'tokenizer.pth'), '--budgets', '2', '5',
                                      '--images', '2', '--device', 'cpu'])
    script.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if 'images' in line] == ['CamVid test, 2 images', 'BSDS500 val, 2 images']
    names = 'none', 'soft', 'hard', 'exact'
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines if line[2:].startswith(names)]
    assert [row[:2] for row in rows] == 2 * [['none', ''], *([name, target] for name in names[1:] for target in '25')]
    assert all(int(row[2]) <= int(row[1]) for row in rows if row[0] in ('hard', 'exact'))
