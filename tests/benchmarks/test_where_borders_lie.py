"""benchmarks/superpixels/borders.py counts border pixels by where they lie."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('skimage')


@pytest.fixture
def script(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / 'benchmarks/superpixels'))
    import borders
    return borders


def test_every_border_pixel_is_of_one_kind(script: ModuleType):
    labels = torch.arange(8).expand(4, 8) // 3  # borders at columns 2, 3, 5 and 6 of 8
    near, smooth = torch.zeros(2, 4, 8, dtype=torch.bool)
    near[:, :3], smooth[:, :6] = True, True
    assert script.describe(labels, near, smooth) == [3, 50.0, 12.5, 25.0, 12.5, (2 * 12**2 + 8**2) / 32]


def test_table(script: ModuleType, tmp_path: Path, monkeypatch, capsys):
    for folder in ('images/val', 'groundTruth/val'):
        (tmp_path / folder).mkdir(parents=True)
    halves = np.repeat([0, 200], 32)[None].repeat(64, 0)  # the left half dark, the right one light
    Image.fromarray(np.stack([halves] * 3, -1).astype(np.uint8)).save(tmp_path / 'images/val/a.png')
    np.savez(tmp_path / 'groundTruth/val/a.npz', segmentations=(halves[None] > 0).astype(np.uint16) + 1)
    monkeypatch.setattr(sys, 'argv', ['x', '--data', str(tmp_path), '--regions', '4', '--methods', 'quadtree', 'grid'])
    script.main()
    _, _, *rows = ([cell.strip() for cell in line.split('|')[1:-1]] for line in capsys.readouterr().out.splitlines())
    assert [row[:2] for row in rows] == [['4', 'quadtree'], ['4', 'grid']]
    # Quarters: two columns of border pixels, where the halves meet, and two rows, four of whose pixels are beside those and so near.
    columns, outside = 2 * 64, 2 * 60
    assert rows[0][2:] == ['4', *(f'{100 * pixels / 64**2:.1f}' for pixels in (columns + 4 + outside, columns + 4, outside, 0)), '1024']
