"""Reading an image as a viewer shows it, and writing files whole or not at all."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dht_mm.visualization import atomic_file, read_image, save_png

RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def write(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def test_png_round_trip(tmp_path: Path, picture: np.ndarray):
    save_png(tmp_path / 'a.png', picture)
    assert (read_image(tmp_path / 'a.png') == picture).all()


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_of_the_camera_is_applied(tmp_path: Path, picture: np.ndarray, orientation: int):
    turns = {1: picture, 2: picture[:, ::-1], 3: picture[::-1, ::-1], 4: picture[::-1], 5: picture.swapaxes(0, 1),
             6: np.rot90(picture, -1), 7: np.rot90(picture, 2).swapaxes(0, 1), 8: np.rot90(picture)}
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / 'a.png', Image.fromarray(picture), exif=exif)
    assert (read_image(path) == turns[orientation]).all()


def test_transparent_pixels_lie_on_white(tmp_path: Path, picture: np.ndarray):
    alpha = np.full((4, 6, 1), 255, np.uint8)
    alpha[0] = 0
    read = read_image(write(tmp_path / 'a.png', Image.fromarray(np.concatenate([picture, alpha], axis=-1))))
    assert (read[0] == 255).all() and (read[1:] == picture[1:]).all()


def test_half_transparent_grey_is_mixed_with_white(tmp_path: Path):
    image = Image.merge('LA', [Image.new('L', (3, 2), 100), Image.new('L', (3, 2), 128)])
    assert abs(read_image(write(tmp_path / 'a.png', image)).astype(int) - (100 * 128 + 255 * 127) / 255).max() <= 1


@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_a_color_declared_transparent_becomes_white(tmp_path: Path, mode: str):
    image = Image.fromarray(RAMP).convert(mode)
    key = 50 if mode == 'L' else (50, 50, 50)
    read = read_image(write(tmp_path / 'a.png', image, transparency=key))
    assert (read[RAMP == 50] == 255).all() and (read[RAMP != 50] == RAMP[RAMP != 50][:, None]).all()


def test_grey_becomes_three_equal_channels(tmp_path: Path):
    assert (read_image(write(tmp_path / 'a.png', Image.fromarray(RAMP))) == RAMP[..., None]).all()


def test_black_and_white_bits(tmp_path: Path):
    read = read_image(write(tmp_path / 'a.png', Image.fromarray(RAMP > 100)))
    assert (read == np.where(RAMP > 100, 255, 0)[..., None]).all()


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, suffix: str):
    image = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert (read_image(write(tmp_path / f'a.{suffix}', image)) == RAMP[..., None]).all()


def test_palette_image_takes_its_colors(tmp_path: Path):
    image = Image.fromarray((RAMP // 10 % 2).astype(np.uint8))
    image.putpalette([1, 2, 3, 200, 100, 50])
    read = read_image(write(tmp_path / 'a.png', image))
    assert (read == np.where((RAMP // 10 % 2)[..., None], (200, 100, 50), (1, 2, 3))).all()


def test_transparent_palette_entry_lies_on_white(tmp_path: Path):
    image = Image.fromarray((RAMP // 10 % 2).astype(np.uint8))
    image.putpalette([1, 2, 3, 200, 100, 50])
    read = read_image(write(tmp_path / 'a.png', image, transparency=0))
    assert (read == np.where((RAMP // 10 % 2)[..., None], (200, 100, 50), 255)).all()


def test_cmyk_and_jpeg(tmp_path: Path):
    image = Image.new('RGB', (16, 8), (200, 40, 40))
    for mode in ('RGB', 'CMYK'):
        read = read_image(write(tmp_path / f'{mode}.jpg', image.convert(mode), quality=95))
        assert read.shape == (8, 16, 3) and abs(read.astype(int) - (200, 40, 40)).max() < 8


def test_first_frame_of_an_animation(tmp_path: Path):
    frames = [Image.new('RGB', (4, 4), color) for color in ('red', 'blue')]
    path = write(tmp_path / 'a.gif', frames[0], save_all=True, append_images=frames[1:])
    assert (read_image(path) == (255, 0, 0)).all()


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match='none.png does not exist'):
        read_image(tmp_path / 'none.png')


def test_damaged_or_foreign_file_is_named(tmp_path: Path, picture: np.ndarray):
    save_png(tmp_path / 'whole.png', picture)
    (tmp_path / 'cut.png').write_bytes((tmp_path / 'whole.png').read_bytes()[:80])
    (tmp_path / 'text.png').write_text('no image')
    (tmp_path / 'empty.jpg').touch()
    Image.fromarray(RAMP.astype(np.float32)).save(tmp_path / 'float.tif')
    Image.fromarray(RAMP.astype(np.int32) * 10_000).save(tmp_path / 'deep.tif')
    for name in ('cut.png', 'text.png', 'empty.jpg', 'float.tif', 'deep.tif', '.'):
        with pytest.raises(ValueError, match='path must be a readable image'):
            read_image(tmp_path / name)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / 'a.bin'
    path.write_bytes(b'old')
    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error), atomic_file(path) as file:
            file.write(b'half')
            raise error
    assert path.read_bytes() == b'old' and os.listdir(tmp_path) == ['a.bin']


def test_written_file_replaces_the_old_one_with_ordinary_permissions(tmp_path: Path):
    for content in (b'old', b'new'):
        with atomic_file(tmp_path / 'a.bin') as file:
            file.write(content)
    (tmp_path / 'b.bin').touch()
    assert (tmp_path / 'a.bin').read_bytes() == b'new'
    assert stat.S_IMODE((tmp_path / 'a.bin').stat().st_mode) == stat.S_IMODE((tmp_path / 'b.bin').stat().st_mode)


def test_missing_folder_is_named(tmp_path: Path, picture: np.ndarray):
    with pytest.raises(FileNotFoundError, match='gone does not exist'):
        save_png(tmp_path / 'gone/a.png', picture)


def test_only_pictures_can_be_saved(tmp_path: Path):
    with pytest.raises(TypeError, match='image must be a uint8'):
        save_png(tmp_path / 'a.png', np.zeros((2, 2, 3)))
    assert not os.listdir(tmp_path)


def test_a_file_open_for_reading_is_read_too(tmp_path: Path, picture: np.ndarray):
    path = write(tmp_path / 'a.png', Image.fromarray(picture))
    with open(path, 'rb') as file:
        assert (read_image(file) == picture).all()
    with open(__file__, 'rb') as file, pytest.raises(ValueError, match='path must be a readable image'):
        read_image(file)
