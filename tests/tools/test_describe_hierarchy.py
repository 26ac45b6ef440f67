"""The command describes the levels that a hierarchy has, and those that its regions are selected from."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenize_image import normalize

from dht_mm.tokenizer import DHTTokenizer


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / 'tools/analysis_tools'))
    import describe_hierarchy
    return describe_hierarchy


@pytest.fixture
def tokenizer() -> DHTTokenizer:
    torch.manual_seed(0)
    return DHTTokenizer().eval()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images of different depth: noise, and a single pixel."""
    (tmp_path / 'images/val').mkdir(parents=True)
    for name, shape in dict(a=(24, 30, 3), b=(1, 1, 3)).items():
        Image.fromarray(np.random.default_rng(0).integers(0, 255, shape, np.uint8)).save(tmp_path / f'images/val/{name}.png')
    return tmp_path


def test_levels_hold_all_nodes_and_all_regions(tool, tokenizer: DHTTokenizer):
    image = normalize(np.random.default_rng(0).integers(0, 255, (24, 30, 3), np.uint8), 'cpu')
    hierarchy = tokenizer.hierarchy(image)
    levels = tool.levels_of(hierarchy)
    assert [level.name for level in levels] == [*map(str, range(len(levels) - 1)), 'image']
    assert [len(level.scores) for level in levels] == hierarchy.level_starts.diff().tolist()
    assert sum(len(level.selected) for level in levels) == int(hierarchy.num_regions)
    assert sum(level.share for level in levels) == pytest.approx(1)
    selected = np.concatenate([level.selected for level in levels])
    assert sorted(selected) == sorted(hierarchy.node_score[hierarchy.node.long() - 24 * 30].tolist()), 'none is a pixel here'


def test_row_of_a_level(tool):
    level = tool.Level('3', np.array([-4.0, -3.0, -2.0, -1.0, 0.0]), np.array([-1.0]), 0.25)
    assert level.row() == dict(level='3', regions=5, selected=1, share=0.25, score_25=-3, score_50=-2, score_75=-1,
                               selected_score_25=-1, selected_score_50=-1, selected_score_75=-1)
    assert 'selected_score_50' not in tool.Level('3', level.scores, np.empty(0), 0.0).row()


def test_table_and_files(tool, tokenizer: DHTTokenizer, data: Path, capsys: pytest.CaptureFixture):
    torch.save(tokenizer.state_dict(), data / 'tokenizer.pth')
    out = data / 'out'
    assert tool.main([str(data), '--tokenizer', str(data / 'tokenizer.pth'), '--device', 'cpu', '--out-dir', str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '2 images'
    with open(out / 'levels.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['image'] for row in rows].count('a.png') == len(lines) - 4, 'a line of the table for each level of the deeper image'
    table = {cells[0]: cells for cells in ([cell.strip() for cell in line.split('|')[1:-1]] for line in lines[4:])}
    assert table['0'][1:3] == ['2', '360'] and table['1'][1] == '1' and table['image'][1:3] == ['2', '1']
    assert sum(int(row['selected']) for row in rows if row['image'] == 'b.png') == 1
    pytest.importorskip('matplotlib')
    assert np.array(Image.open(out / 'levels.png').convert('RGB')).std() > 0


def test_tokenizers_without_a_hierarchy_are_refused(tool, data: Path, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        tool.main([str(data), '--tokenizer', 'GridTokenizer', '--options', 'patch_size=8', '--device', 'cpu'])
    assert '--tokenizer must be a DHTTokenizer, since others have no hierarchy, got GridTokenizer' in capsys.readouterr().err
