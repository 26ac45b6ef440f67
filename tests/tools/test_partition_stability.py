"""What the command changes, and that it compares the right pixels with each other."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dht_mm.tokenizer import DHTTokenizer, GridTokenizer


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / 'tools/analysis_tools'))
    import partition_stability
    return partition_stability


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 255, (32, 48, 3), np.uint8)


def test_changes(tool, image: np.ndarray):
    changed = {name: change(image).astype(int) - image for name, (change, _, _) in tool.CHANGES.items() if '8 pixels' not in name}
    assert (changed['one level lighter'] == 1).all() and (changed['one level darker'] == -1).all()
    assert changed['noise of 5 levels'].std() == pytest.approx(5, rel=0.1)
    assert (abs(changed['JPEG, quality 95'])).mean() < (abs(changed['JPEG, quality 75'])).mean()
    assert (tool.brighter(200)(image) <= 255).all() and tool.brighter(200)(image).max() == 255


def moved(tool, tokenizer: torch.nn.Module, image: np.ndarray) -> dict[str, tuple[float, int]]:
    return {row['change']: (row['agreement'], row['regions']) for row in tool.compare(tokenizer, image, 'cpu')}


def test_grid_moves_with_the_image_only_where_it_must(tool, image: np.ndarray):
    rows = moved(tool, GridTokenizer(8), image)
    assert rows.pop('8 pixels cut off') == (1, 8) and {*rows.values()} == {(1, 24)}, 'squares of 8 fit the sides and the margin'
    rows = moved(tool, GridTokenizer(32), image)
    assert rows['flipped left to right'] == (32 / 48, 2), 'columns 0 to 31 and 32 to 47 against 0 to 15 and 16 to 47'


@pytest.mark.parametrize('mode', [None, 'exact'])
def test_mirrored_features_leave_ties_alone(tool, mode: str | None):
    """Random pixels have few ties, and so the mirrored image has the mirrored regions if it has the mirrored features."""
    torch.manual_seed(0)
    tokenizer = DHTTokenizer(token_budget=mode and dict(mode=mode, test=40)).eval()
    rows = moved(tool, tokenizer, np.random.default_rng(0).integers(0, 256, (30, 42, 3), np.uint8))
    assert rows[tool.MIRRORED][0] > 0.95 > rows['flipped left to right'][0]
    assert list(tokenizer.state_dict()) == list(DHTTokenizer().state_dict()), 'the tokenizer itself stays as it is'


def test_table_and_files(tool, tmp_path: Path, image: np.ndarray, capsys: pytest.CaptureFixture):
    (tmp_path / 'images/val').mkdir(parents=True)
    Image.fromarray(image).save(tmp_path / 'images/val/a.png')
    options = ['--tokenizer', 'GridTokenizer', '--options', 'patch_size=32', '--device', 'cpu', '--out-dir', str(tmp_path / 'out')]
    assert tool.main([str(tmp_path), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '1 images' and '| flipped left to right | 0.667 | 0.667 | 2 |' in lines
    table = (tmp_path / 'out/stability.csv').read_text().splitlines()
    assert table[:2] == ['image,change,agreement,regions', 'a.png,none,1.0,2'] and len(table) == 2 + len(tool.CHANGES)
    pytest.importorskip('matplotlib')
    assert np.array(Image.open(tmp_path / 'out/stability.png').convert('RGB')).std() > 0


def test_images_smaller_than_the_margin_are_refused(tool, tmp_path: Path, image: np.ndarray, capsys: pytest.CaptureFixture):
    (tmp_path / 'images/val').mkdir(parents=True)
    Image.fromarray(image[:16]).save(tmp_path / 'images/val/a.png')
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path), '--tokenizer', 'GridTokenizer', '--options', 'patch_size=8', '--device', 'cpu'])
    assert 'images must have more than 16 rows and columns, got (16, 48)' in capsys.readouterr().err
