"""The command writes what the tokenizer finds, for every kind of image, and says what it could not read."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dht_mm.tokenizer import DHTTokenizer
from dht_mm.visualization import border_mask, paint_mean_color, read_image, upscale

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'tools/tokenize_image.py'
tool = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


def run(*arguments: object) -> int:
    return tool.main([str(argument) for argument in arguments])


def labels_of(path: Path) -> np.ndarray:
    return np.load(path)['labels']


def test_three_files_that_agree_with_each_other(tmp_path: Path, photo: Path, checkpoint: Path, capsys: pytest.CaptureFixture):
    assert run(photo, '--out-dir', tmp_path / 'a/b', '--checkpoint', checkpoint) == 0
    assert sorted(path.name for path in (tmp_path / 'a/b').iterdir()) == [
        'photo_labels.npz', 'photo_mean_color.png', 'photo_overlay.png']
    arrays = np.load(tmp_path / 'a/b/photo_labels.npz')
    labels, bbox, size = arrays['labels'], arrays['bbox'], arrays['size']
    assert {array.dtype for array in arrays.values()} == {np.dtype('int32')}
    assert labels.shape == (24, 32) and len(size) == labels.max() + 1 > 1
    for label in range(len(size)):
        y, x = np.nonzero(labels == label)
        assert len(y) == size[label] and (y.min(), x.min(), y.max(), x.max()) == tuple(bbox[label])
    image, overlay = read_image(photo), read_image(tmp_path / 'a/b/photo_overlay.png')
    assert ((overlay != image).any(axis=-1) == border_mask(labels)).all()
    assert (read_image(tmp_path / 'a/b/photo_mean_color.png') == paint_mean_color(image, labels)).all()
    first, last = capsys.readouterr().out.splitlines()
    assert f'{photo}: {len(size)} regions in 32x24 pixels, ' in first and first.endswith(' s -> photo')
    assert last.startswith('1 of 1 images tokenized') and str(tmp_path / 'a/b') in last


def test_labels_are_those_of_the_tokenizer_on_the_normalised_image(tmp_path: Path, photo: Path, checkpoint: Path):
    run(photo, '--out-dir', tmp_path, '--checkpoint', checkpoint, '--compactness', 0.01, '--criterion', 'bic')
    pixels = torch.from_numpy(read_image(photo) / np.float32(255)).permute(2, 0, 1)[None]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    tokenizer = DHTTokenizer(compactness=0.01, criterion='bic').eval()
    tokenizer.load_state_dict(torch.load(checkpoint, weights_only=True))
    expected = tokenizer((pixels - mean[:, None, None]) / std[:, None, None]).labels[0]
    assert (labels_of(tmp_path / 'photo_labels.npz') == expected.numpy()).all()


def test_every_kind_of_image_gives_the_labels_of_its_plain_form(tmp_path: Path, photo: Path, checkpoint: Path):
    image = Image.open(photo)
    grey = image.convert('L')
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored rows are the columns of the upright picture
    opaque = image.copy()
    opaque.putalpha(255)
    pairs = {
        'turned.png': (image, dict(exif=exif)), 'upright.png': (image.transpose(Image.Transpose.ROTATE_270), {}),
        'alpha.png': (opaque, {}), 'plain.png': (image, {}),
        'sixteen.png': (Image.fromarray(np.array(grey).astype(np.uint16) * 257), {}), 'grey.png': (grey, {}),
        'palette.png': (image.quantize(16), {}), 'colors.png': (image.quantize(16).convert('RGB'), {}),
    }
    for name, (picture, options) in pairs.items():
        picture.save(tmp_path / name, **options)
    assert run(*(tmp_path / name for name in pairs), '--out-dir', tmp_path, '--checkpoint', checkpoint) == 0
    maps = [labels_of(tmp_path / f'{Path(name).stem}_labels.npz') for name in pairs]
    for first, second in zip(maps[::2], maps[1::2], strict=True):
        assert first.max() > 0 and np.array_equal(first, second)


def test_unreadable_files_are_named_and_the_rest_is_done(tmp_path: Path, photo: Path, checkpoint: Path,
                                                         capsys: pytest.CaptureFixture):
    (tmp_path / 'text.jpg').write_text('no image')
    (tmp_path / 'cut.png').write_bytes(photo.read_bytes()[:300])
    names = ['text.jpg', 'gone.png', 'cut.png']
    assert run(*(tmp_path / name for name in names), photo, '--out-dir', tmp_path / 'out', '--checkpoint', checkpoint) == 1
    streams = capsys.readouterr()
    assert all(f'{name}: skipped' in line for name, line in zip(names, streams.err.splitlines(), strict=True))
    assert streams.out.splitlines()[-1].startswith('1 of 4 images tokenized')
    assert len(list((tmp_path / 'out').iterdir())) == 3


def test_same_names_and_inputs_are_never_overwritten(tmp_path: Path, photo: Path, checkpoint: Path):
    (tmp_path / 'other').mkdir()
    clash = tmp_path / 'photo_overlay.png'
    for path in (tmp_path / 'other/photo.png', clash):
        path.write_bytes(photo.read_bytes())
    run(photo, tmp_path / 'other/photo.png', clash, '--out-dir', tmp_path, '--checkpoint', checkpoint)
    written = {path.name for path in tmp_path.glob('*_labels.npz')}
    assert written == {'photo-2_labels.npz', 'photo-3_labels.npz', 'photo_overlay_labels.npz'}
    assert clash.read_bytes() == photo.read_bytes()


def test_size_sets_the_longer_side_and_scale_enlarges_the_overlay_alone(tmp_path: Path, photo: Path, checkpoint: Path):
    run(photo, '--out-dir', tmp_path, '--checkpoint', checkpoint, '--size', 16, '--scale', 3)
    labels = labels_of(tmp_path / 'photo_labels.npz')
    assert labels.shape == (12, 16) and read_image(tmp_path / 'photo_mean_color.png').shape == (12, 16, 3)
    overlay, mask = read_image(tmp_path / 'photo_overlay.png'), border_mask(upscale(labels, 3))
    cells = overlay.reshape(12, 3, 16, 3, 3)
    assert overlay.shape == (36, 48, 3) and np.isin(overlay[mask], (0, 255)).all()
    assert (cells[:, :2, :, :2] == cells[:, :1, :, :1]).all(), 'lines lie on the last row and column of a pixel only'


@pytest.mark.parametrize('budget', [1, 2, 5])
def test_hard_budget_is_kept(tmp_path: Path, photo: Path, checkpoint: Path, budget: int):
    run(photo, '--out-dir', tmp_path, '--checkpoint', checkpoint, '--token-budget', budget)
    assert labels_of(tmp_path / 'photo_labels.npz').max() < budget


@pytest.mark.parametrize('options, message', [
    (['--compactness', '1.5'], 'compactness'),
    (['--token-budget', '-3'], 'token_budget'),
    (['--size', '0'], '--size must be at least 1, got 0'),
    (['--scale', '-1'], '--scale must be at least 1, got -1'),
    (['--criterion', 'best'], "invalid choice: 'best'"),
    (['--checkpoint', 'gone.pth'], 'gone.pth does not exist'),
    (['--out-dir', str(SCRIPT)], 'exists'),
])
def test_bad_options_are_named(tmp_path: Path, photo: Path, checkpoint: Path, capsys: pytest.CaptureFixture,
                               options: list[str], message: str):
    with pytest.raises(SystemExit) as stop:
        run(photo, '--out-dir', tmp_path, '--checkpoint', checkpoint, *options)
    assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize('compactness, name', [(None, 'tokenizer_c01'), (0.02, 'tokenizer_c001')])
def test_default_weights_are_the_shipped_ones_of_the_nearest_compactness(tmp_path: Path, photo: Path, compactness: float | None, name: str):
    options = [] if compactness is None else ['--compactness', compactness]
    for folder, extra in (('default', []), ('named', ['--checkpoint', f'dht_mm://{name}'])):
        assert run(photo, '--out-dir', tmp_path / folder, *options, *extra) == 0
    default, named = (labels_of(tmp_path / folder / 'photo_labels.npz') for folder in ('default', 'named'))
    assert default.max() > 0 and (default == named).all()


def test_a_folder_that_cannot_be_written_to_ends_with_a_sentence(tmp_path: Path, photo: Path, checkpoint: Path,
                                                                 capsys: pytest.CaptureFixture):
    (tmp_path / 'out/photo_overlay.png').mkdir(parents=True)  # a folder in the place of a result
    with pytest.raises(SystemExit) as stop:
        run(photo, '--out-dir', tmp_path / 'out', '--checkpoint', checkpoint)
    assert stop.value.code == 1 and 'cannot write the results of' in capsys.readouterr().err


def test_it_runs_as_a_command(tmp_path: Path, photo: Path, checkpoint: Path):
    command = [sys.executable, SCRIPT, photo, tmp_path / 'gone.png', '--out-dir', tmp_path, '--checkpoint', checkpoint]
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}  # also where the package is not installed
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and 'gone.png: skipped' in done.stderr and '1 of 2 images tokenized' in done.stdout
