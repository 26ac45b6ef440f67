"""The command writes one SVG an image, measures it, and says what it could not read."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import raster_to_vector as tool
import svg_quality
import torch
from PIL import Image

SVG = '{http://www.w3.org/2000/svg}'
SCRIPT = Path(tool.__file__)


def run(*arguments: object) -> int:
    return tool.main([str(argument) for argument in arguments])


def root_of(path: Path) -> ElementTree.Element:
    return ElementTree.parse(path).getroot()


def paths_of(path: Path) -> list[ElementTree.Element]:
    return list(root_of(path).iter(f'{SVG}path'))


def test_it_writes_a_document_and_a_table(tmp_path: Path, photo: Path, checkpoint: Path, capsys: pytest.CaptureFixture):
    assert run(photo, photo, '-o', tmp_path / 'a/b', '--checkpoint', checkpoint) == 0
    root = root_of(tmp_path / 'a/b/photo.svg')
    assert root.get('viewBox') == '0 0 32 24' and root[0].text == 'photo' and (tmp_path / 'a/b/photo-2.svg').exists()
    header, first, second, mean, last = capsys.readouterr().out.splitlines()
    assert header.split() == ['regions', 'paths', 'kB', 'PSNR', 'SSIM', 'seconds', 'file']
    assert first.split()[:3] == ['1/2', *[str(len(paths_of(tmp_path / 'a/b/photo.svg')))] * 2] and second.split()[0] == '2/2'
    assert mean.split()[0] == 'mean' and last.startswith('2 of 2 images vectorized')


@pytest.mark.parametrize('tokens', [1, 4, 30, 700, 10000])
def test_tokens_is_the_number_of_paths(tmp_path: Path, photo: Path, checkpoint: Path, tokens: int):
    run(photo, '-o', tmp_path, '--checkpoint', checkpoint, '--tokens', tokens)
    assert len(paths_of(tmp_path / 'photo.svg')) == min(tokens, 24 * 32)


def test_four_tokens_are_the_four_quadrants(tmp_path: Path, photo: Path, checkpoint: Path):
    run(photo, '-o', tmp_path, '--checkpoint', checkpoint, '--tokens', 4, '--tolerance', 0, '--steps', 1)
    outlines = {path.get('d') for path in paths_of(tmp_path / 'photo.svg')}
    assert {frozenset(re.findall(r'\d+', outline)) for outline in outlines} == {frozenset({*origin, '16', '12'}) for origin in (
        ('0', '12'), ('16', '12'), ('0', '24'), ('16', '24'))}


def test_options_reach_the_document(tmp_path: Path, photo: Path, checkpoint: Path):
    common = photo, '-o', tmp_path, '--checkpoint', checkpoint
    run(*common, '--gradients', 0, '--background', 'none')
    assert list(root_of(tmp_path / 'photo.svg').iter(f'{SVG}stop')) and not list(root_of(tmp_path / 'photo.svg').iter(f'{SVG}rect'))
    run(*common, '--levels', '--background', 'squares')
    groups = [group.get('id') for group in root_of(tmp_path / 'photo.svg').iter(f'{SVG}g')]
    assert groups[0] == 'regions' and groups[1:] and all(re.fullmatch(r'level-\d', name) for name in groups[1:])
    run(*common, '--published')
    assert all(path.get('stroke') for path in paths_of(tmp_path / 'photo.svg'))
    run(*common, '--merge-colors', '--size', 8)
    assert root_of(tmp_path / 'photo.svg').get('viewBox') == '0 0 8 6'


@pytest.mark.parametrize('name, height, width', [('alpha.png', 6, 5), ('deep.png', 6, 5), ('turned.jpg', 5, 6), ('dot.png', 1, 1)])
def test_kinds_of_images(tmp_path: Path, checkpoint: Path, name: str, height: int, width: int):
    """Transparency lies on white, 16 bits become 8, cameras' rotation is applied, and one pixel is an image."""
    path = tmp_path / name
    if name == 'alpha.png':
        Image.new('RGBA', (5, 6), (0, 0, 0, 0)).save(path)
    elif name == 'deep.png':
        Image.fromarray(np.full((6, 5), 65535, np.uint16)).save(path)
    elif name == 'turned.jpg':
        exif = Image.Exif()
        exif[0x0112] = 6  # orientation: rotate by 90 degrees
        Image.new('RGB', (5, 6), 'white').save(path, exif=exif)
    else:
        Image.new('RGB', (1, 1), 'white').save(path)
    assert run(path, '-o', tmp_path / 'out', '--checkpoint', checkpoint, '--tokens', 1) == 0
    target = tmp_path / f'out/{path.stem}.svg'
    assert root_of(target).get('viewBox') == f'0 0 {width} {height}'
    assert [path.get('fill') for path in paths_of(target)] == ['#ffffff']


def test_unreadable_files_are_named_and_the_rest_is_done(tmp_path: Path, photo: Path, checkpoint: Path,
                                                         capsys: pytest.CaptureFixture):
    (tmp_path / 'text.jpg').write_text('no image')
    (tmp_path / 'cut.png').write_bytes(photo.read_bytes()[:300])
    names = ['text.jpg', 'gone.png', 'cut.png']
    assert run(*(tmp_path / name for name in names), photo, '-o', tmp_path / 'out', '--checkpoint', checkpoint) == 1
    streams = capsys.readouterr()
    assert all(f'{name}: skipped' in line for name, line in zip(names, streams.err.splitlines(), strict=True))
    assert streams.out.splitlines()[-1].startswith('1 of 4 images vectorized')
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['photo.svg']


@pytest.mark.parametrize('options, message', [
    (['--tolerance', '-1'], 'tolerance must be'), (['--tokens', '0'], '--tokens must be at least 1, got 0'),
    (['--background', 'red'], 'background must be'), (['--steps', '0'], 'steps must be'), (['--gradients', 'nan'], 'least_gain must be'),
    (['--tokens', '5', '--levels'], '--levels needs'), (['--levels', '--merge-colors'], 'levels must be None'),
    (['--compactness', '1.5'], 'compactness'), (['--checkpoint', 'gone.pth'], 'gone.pth does not exist'), (['-o', str(SCRIPT)], 'exists'),
])
def test_bad_options_are_named(tmp_path: Path, photo: Path, checkpoint: Path, capsys: pytest.CaptureFixture,
                               options: list[str], message: str):
    with pytest.raises(SystemExit) as stop:
        run(photo, '-o', tmp_path / 'out', '--checkpoint', checkpoint, *options)
    assert stop.value.code == 2 and message in capsys.readouterr().err and not list(tmp_path.glob('out/*'))


def test_a_folder_that_cannot_be_written_to_ends_with_a_sentence(tmp_path: Path, photo: Path, checkpoint: Path,
                                                                 capsys: pytest.CaptureFixture):
    (tmp_path / 'out/photo.svg').mkdir(parents=True)  # a folder in the place of the result
    with pytest.raises(SystemExit) as stop:
        run(photo, '-o', tmp_path / 'out', '--checkpoint', checkpoint)
    assert stop.value.code == 1 and 'cannot write the result of' in capsys.readouterr().err


def test_without_a_renderer_quality_is_a_dash(tmp_path: Path, photo: Path, checkpoint: Path, capsys: pytest.CaptureFixture,
                                              monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(svg_quality, 'RENDERERS', {})
    assert run(photo, '-o', tmp_path, '--checkpoint', checkpoint) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[4:6] == ['-', '-']


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('options', [[], ['--tokens', 12], ['--levels', '--gradients', 0]])
def test_a_gpu_gives_the_same_document(tmp_path: Path, photo: Path, checkpoint: Path, options: list):
    for device in ('cpu', 'cuda'):
        run(photo, '-o', tmp_path / device, '--checkpoint', checkpoint, '--device', device, *options)
    assert (tmp_path / 'cpu/photo.svg').read_bytes() == (tmp_path / 'cuda/photo.svg').read_bytes()


def test_quality_is_measured(tmp_path: Path, photo: Path, checkpoint: Path, capsys: pytest.CaptureFixture):
    if not svg_quality.RENDERERS or svg_quality.structural_similarity is None:
        pytest.skip('needs resvg-py or cairosvg, and scikit-image')
    run(photo, '-o', tmp_path, '--checkpoint', checkpoint, '--tokens', 4)
    psnr, ssim = map(float, capsys.readouterr().out.splitlines()[1].split()[4:6])
    assert psnr > 30 and ssim > 0.7  # noise of deviation 6 alone leaves 32.6 dB


def test_it_runs_as_a_command(tmp_path: Path, photo: Path, checkpoint: Path):
    command = [sys.executable, SCRIPT, photo, tmp_path / 'gone.png', '-o', tmp_path, '--checkpoint', checkpoint]
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}  # also where the package is not installed
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and 'gone.png: skipped' in done.stderr and '1 of 2 images vectorized' in done.stdout
