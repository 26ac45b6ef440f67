"""The command draws every image of a folder, counts regions, and says what it could not read."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenize_image import normalize

from dht_mm.tokenizer import DHTTokenizer
from dht_mm.visualization import count_histogram, draw_levels, draw_regions, read_image


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / 'tools/analysis_tools'))
    import draw_regions
    return draw_regions


def test_a_folder_with_a_damaged_file(tool, tmp_path: Path, photo: Path, checkpoint: Path, capsys: pytest.CaptureFixture):
    (tmp_path / 'bad.jpg').write_text('no image')
    (tmp_path / 'notes.txt').write_text('no image and not taken for one')
    out = tmp_path / 'a/b'
    options = ['--out-dir', out, '--checkpoint', checkpoint, '--device', 'cpu']
    assert tool.main([*map(str, [tmp_path, photo, *options])]) == 1
    assert sorted(path.name for path in out.iterdir()) == [
        'counts.csv', 'counts.png', 'photo-2_levels.png', 'photo-2_regions.png', 'photo_levels.png', 'photo_regions.png']
    tokenizer = DHTTokenizer().eval()
    tokenizer.load_state_dict(torch.load(checkpoint, weights_only=True))
    image = read_image(photo)
    with torch.no_grad():
        partition, hierarchy = tokenizer(normalize(image, 'cpu')), tokenizer.hierarchy(normalize(image, 'cpu'))
    assert (read_image(out / 'photo_regions.png') == draw_regions(image, partition)).all()
    assert (read_image(out / 'photo-2_levels.png') == draw_levels(image, hierarchy)).all()
    count = partition.total_regions
    assert list(csv.reader((out / 'counts.csv').read_text().splitlines())) == [
        ['name', 'regions'], ['photo', str(count)], ['photo-2', str(count)]]
    assert (read_image(out / 'counts.png') == count_histogram([count, count])).all()
    printed = capsys.readouterr()
    assert 'bad.jpg: skipped' in printed.err and '3/3' in printed.err and printed.out.startswith('2 of 3 images drawn; in ')


def test_budget_and_size_reach_the_tokenizer(tool, tmp_path: Path, photo: Path, checkpoint: Path):
    options = ['--checkpoint', str(checkpoint), '--token-budget', '3', '--size', '16', '--device', 'cpu']
    assert tool.main([str(photo), '--out-dir', str(tmp_path), *options]) == 0
    assert int((tmp_path / 'counts.csv').read_text().splitlines()[1].split(',')[1]) <= 3
    assert np.array(read_image(tmp_path / 'photo_regions.png')).shape[1] < 2 * 16 * 20 + 20, '16 x 12 pixels, enlarged 20 times'


@pytest.mark.parametrize('options, message', [
    (['{empty}'], 'empty has none'), (['{photo}', '--size', '0'], '--size must be at least 1, got 0'),
    (['{photo}', '--token-budget', '0'], 'token_budget test must be a positive integer'),
    (['{photo}', '--checkpoint', 'gone.pth'], 'gone.pth does not exist'),
])
def test_bad_options_are_named(tool, tmp_path: Path, photo: Path, checkpoint: Path, capsys: pytest.CaptureFixture,
                               options: list[str], message: str):
    (tmp_path / 'empty').mkdir()
    given = [option.format(empty=tmp_path / 'empty', photo=photo) for option in options]
    with pytest.raises(SystemExit) as stop:
        tool.main(['--checkpoint', str(checkpoint), '--out-dir', str(tmp_path / 'out'), *given])
    assert stop.value.code == 2 and message in capsys.readouterr().err
