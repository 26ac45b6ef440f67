"""The command scores any tokenizer on a folder of annotated images, and says what it could not read."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenize_image import normalize

from dht_mm.metrics import mean_scores, partition_scores
from dht_mm.tokenizer import DHTTokenizer, GridTokenizer


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / 'tools/analysis_tools'))
    import eval_partition
    return eval_partition


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images as BSDS500 has them in `val`, the same with classes in `test`, and without annotations in `bare`."""
    random = np.random.default_rng(0)
    for folder in ('images/val', 'images/test', 'images/bare', 'groundTruth/val', 'annotations/test'):
        (tmp_path / folder).mkdir(parents=True)
    for name in 'ab':
        picture = Image.fromarray(random.integers(0, 255, (16, 24, 3), np.uint8))
        for split in ('val', 'test', 'bare'):
            picture.save(tmp_path / 'images' / split / f'{name}.png')
        np.savez(tmp_path / f'groundTruth/val/{name}.npz', segmentations=random.integers(1, 4, (2, 16, 24), np.uint16))
        classes = random.integers(0, 3, (16, 24), np.uint8)
        classes[:4] = 255
        Image.fromarray(classes).save(tmp_path / f'annotations/test/{name}.png')
    return tmp_path


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def expected_scores(data: Path, name: str, truths: np.ndarray | None, **options) -> dict[str, float]:
    picture = np.array(Image.open(data / f'images/val/{name}.png'))
    return partition_scores(GridTokenizer(8)(normalize(picture, 'cpu')).labels[0], picture, truths, **options)


def test_table_and_lines_hold_the_scores_of_the_room(tool, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    options = ['--tokenizer', 'GridTokenizer', '--options', 'patch_size=8', '--tolerance', '2', '--device', 'cpu']
    assert tool.main([str(data), '--out-dir', str(tmp_path / 'out/x'), *options]) == 0
    rows, scores = rows_of(tmp_path / 'out/x/scores.csv'), []
    for row, name in zip(rows, 'ab', strict=True):
        scores.append(expected_scores(data, name, np.load(data / f'groundTruth/val/{name}.npz')['segmentations'], tolerance=2))
        assert row.pop('image') == f'{name}.png' and float(row.pop('seconds')) > 0
        assert {name: float(value) for name, value in row.items()} == scores[-1]
    printed = capsys.readouterr()
    assert '2 images' in printed.out and '| regions | 6.0 |' in printed.out and '2/2' in printed.err
    for name, value in mean_scores(scores).items():
        assert name == 'regions' or f'| {name.replace("_", " ")} | {value:.4f} |' in printed.out
    assert 'majority miou' not in printed.out


def test_classes_give_the_iou_of_majority_classes_and_open_pixels_are_left_out(tool, data: Path, capsys: pytest.CaptureFixture):
    tool.main([str(data), '--split', 'test', '--tokenizer', 'GridTokenizer', '--options', 'patch_size=1', '--device', 'cpu'])
    table = capsys.readouterr().out
    assert '| majority miou | 1.0000 |' in table and '| achievable accuracy | 1.0000 |' in table


def test_images_without_annotations_have_the_other_scores(tool, data: Path, tmp_path: Path):
    tool.main([str(data), '--split', 'bare', '--tokenizer', 'dht_mm.GridTokenizer', '--options', 'patch_size=8', '--device', 'cpu',
               '--out-dir', str(tmp_path), '--images', '1'])
    row, = rows_of(tmp_path / 'scores.csv')
    assert list(row) == ['image', 'regions', 'explained_variation', 'psnr', 'compactness', 'seconds']


def test_plot_is_a_picture(tool, data: Path, tmp_path: Path):
    pytest.importorskip('matplotlib')
    tool.main([str(data), '--tokenizer', 'GridTokenizer', '--options', 'patch_size=8', '--device', 'cpu', '--out-dir', str(tmp_path)])
    assert np.array(Image.open(tmp_path / 'scores.png').convert('RGB')).std() > 0


def test_without_matplotlib_there_is_no_plot(tool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tool, 'find_spec', lambda name: None)
    tool.main([str(data), '--tokenizer', 'GridTokenizer', '--options', 'patch_size=8', '--device', 'cpu', '--out-dir', str(tmp_path)])
    assert (tmp_path / 'scores.csv').exists() and not (tmp_path / 'scores.png').exists()


def test_config_and_weights_give_the_tokenizer_inside_a_model(tool, data: Path, tmp_path: Path, checkpoint: Path):
    (tmp_path / 'config.py').write_text(
        "model = dict(type='EncoderDecoder', backbone=dict(type='dht_mm.DHTViT', tokenizer=dict(type='dht_mm.DHTTokenizer', iota=2.0)))")
    common = [str(data), '--device', 'cpu', '--out-dir', str(tmp_path)]
    tool.main([*common, '--tokenizer', str(tmp_path / 'config.py'), '--checkpoint', str(checkpoint)])
    by_config = [row['regions'] for row in rows_of(tmp_path / 'scores.csv')]
    tool.main([*common, '--tokenizer', str(checkpoint), '--options', 'iota=2.0'])
    assert by_config == [row['regions'] for row in rows_of(tmp_path / 'scores.csv')]
    tokenizer = DHTTokenizer(iota=2.0).eval()
    tokenizer.load_state_dict(torch.load(checkpoint, weights_only=True))
    picture = np.array(Image.open(data / 'images/val/a.png'))
    assert int(by_config[0]) == tokenizer(normalize(picture, 'cpu')).total_regions


def test_budget_is_kept(tool, data: Path, tmp_path: Path, checkpoint: Path):
    tool.main([str(data), '--tokenizer', str(checkpoint), '--token-budget', '3', '--device', 'cpu', '--out-dir', str(tmp_path)])
    assert all(int(row['regions']) <= 3 for row in rows_of(tmp_path / 'scores.csv'))


def test_unreadable_files_are_named_and_the_rest_is_done(tool, data: Path, capsys: pytest.CaptureFixture):
    (data / 'images/val/a.png').write_text('no image')
    (data / 'images/val/c.jpg').write_bytes((data / 'images/val/b.png').read_bytes())
    (data / 'groundTruth/val/c.npz').write_text('no array')
    assert tool.main([str(data), '--tokenizer', 'GridTokenizer', '--options', 'patch_size=8', '--device', 'cpu']) == 1
    printed = capsys.readouterr()
    assert '1 images' in printed.out and 'a.png: skipped' in printed.err and 'c.npz must be an annotation' in printed.err


@pytest.mark.parametrize(('options', 'message'), [
    (['--tokenizer', 'NoTokenizer'], 'NoTokenizer'),
    (['--tokenizer', 'gone.pth'], 'gone.pth does not exist'),
    (['--tokenizer', 'gone.py'], 'gone.py'),
    (['--tokenizer', 'GridTokenizer', '--options', 'patch_size=0'], 'patch_size must be a positive integer, got 0'),
    (['--tokenizer', 'GridTokenizer', '--token-budget', '0'], '--token-budget must be at least 1, got 0'),
    (['--tokenizer', 'GridTokenizer', '--split', 'gone'], 'data must hold images/gone'),
])
def test_bad_options_are_named(tool, data: Path, capsys: pytest.CaptureFixture, options: list[str], message: str):
    with pytest.raises(SystemExit) as stop:
        tool.main([str(data), '--device', 'cpu', *options])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_config_without_a_tokenizer_is_named(tool, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture):
    (tmp_path / 'config.py').write_text("model = dict(type='EncoderDecoder')")
    with pytest.raises(SystemExit):
        tool.main([str(data), '--tokenizer', str(tmp_path / 'config.py')])
    assert '--tokenizer must be a config with a tokenizer' in capsys.readouterr().err
