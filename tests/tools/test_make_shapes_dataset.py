"""The demo's data set: reproducible, whole or absent, in ADE20K's format, with exact borders."""

import json
from pathlib import Path

import make_shapes_dataset as shapes
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt

SETTINGS = dict(train=3, val=2, size=48, seed=7)


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    assert shapes.make_dataset(folder, **SETTINGS)
    return folder


def test_layout_is_that_of_ade20k(dataset):
    assert set(read_all(dataset)) == {'settings.json'} | {
        f'{kind}/{split}/{index:04d}.png' for kind in ('images', 'annotations')
        for split, count in (('training', 3), ('validation', 2)) for index in range(count)}


def test_same_seed_gives_the_same_files_and_another_seed_others(dataset, tmp_path):
    shapes.make_dataset(tmp_path / 'again', **SETTINGS)
    shapes.make_dataset(tmp_path / 'other', **{**SETTINGS, 'seed': 8})
    assert read_all(tmp_path / 'again') == read_all(dataset)
    assert read_all(tmp_path / 'other')['images/training/0000.png'] != read_all(dataset)['images/training/0000.png']


def test_splits_share_no_image(dataset):
    files = [content for name, content in read_all(dataset).items() if name.startswith('images')]
    assert len(set(files)) == len(files)


def test_images_are_rgb_and_labels_in_range(dataset):
    for path in (dataset / 'images').rglob('*.png'):
        labels = np.asarray(Image.open(dataset / 'annotations' / path.parent.name / path.name))
        assert np.asarray(Image.open(path)).shape == (48, 48, 3)
        assert labels.shape == (48, 48) and labels.dtype == np.uint8 and labels.max() <= len(shapes.CLASSES)
        assert 1 + shapes.CLASSES.index('scene') in labels


@pytest.mark.parametrize('name', shapes.SHAPES)
def test_every_shape_covers_some_but_not_most_of_the_image(name):
    masks = [shapes.SHAPES[name](np.random.default_rng(seed), 64) for seed in range(50)]
    assert all(mask.shape == (64, 64) and mask.dtype == bool for mask in masks)
    assert all(0 < mask.mean() < 0.5 for mask in masks)


@pytest.mark.parametrize('name', ['ring', 'stroke'])
def test_thin_shapes_are_thin(name):
    masks = [shapes.SHAPES[name](np.random.default_rng(seed), 128) for seed in range(20)]
    inside = np.concatenate([distance_transform_edt(mask)[mask] for mask in masks])
    assert np.mean(inside <= 2) > 0.98  # the rest is where a stroke turns back on itself


def test_pixels_of_a_shape_come_from_its_own_photo_only():
    """Borders are exact: painting a disc changes the image at the disc's pixels and nowhere else."""
    photos = {name: Image.new('RGB', (99, 99), color) for name, color in zip(
        (*shapes.SCENES, *shapes.OWN_PHOTO.values()), ['black'] * 3 + ['red', 'lime', 'blue', 'yellow', 'magenta'], strict=True)}
    for seed in range(20):
        image, labels = shapes.make_sample(np.random.default_rng(seed), photos, 64)
        scene = labels <= 1 + shapes.CLASSES.index('scene')  # unlabelled shapes wear a scene's photograph
        np.testing.assert_array_equal(image.any(-1), ~scene)


def test_existing_data_set_is_kept(dataset):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob('*')}
    assert not shapes.make_dataset(dataset, **SETTINGS)
    assert before == {path: path.stat().st_mtime_ns for path in dataset.rglob('*')}


@pytest.mark.parametrize('settings', [None, dict(SETTINGS, seed=1)])
def test_other_contents_are_never_overwritten(settings, tmp_path):
    if settings is not None:
        (tmp_path / 'settings.json').write_text(json.dumps(settings))
    with pytest.raises(ValueError, match='out: .* exists and is not this data set'):
        shapes.make_dataset(tmp_path, **SETTINGS)


def test_interrupted_run_leaves_no_data_set_and_the_next_completes_it(tmp_path, monkeypatch, dataset):
    saved = []

    def save_until_full(self, path, *args, **kwargs):
        saved.append(path)
        if len(saved) > 4:
            raise OSError('No space left on device')
        original(self, path, *args, **kwargs)

    original = Image.Image.save
    monkeypatch.setattr(Image.Image, 'save', save_until_full)
    with pytest.raises(OSError, match='No space'):
        shapes.make_dataset(tmp_path / 'shapes', **SETTINGS)
    assert not (tmp_path / 'shapes').exists()
    monkeypatch.undo()
    assert shapes.make_dataset(tmp_path / 'shapes', **SETTINGS)
    assert read_all(tmp_path / 'shapes') == read_all(dataset)
    assert [path.name for path in tmp_path.iterdir()] == ['shapes']


@pytest.mark.parametrize('wrong', [dict(train=0), dict(val=-1), dict(size=8), dict(seed=-1)])
def test_numbers_out_of_range_are_refused(wrong, tmp_path):
    with pytest.raises(ValueError, match='train and val must be >= 1'):
        shapes.make_dataset(tmp_path / 'shapes', **{**SETTINGS, **wrong})
    assert not any(tmp_path.iterdir())
