"""Whole documents: valid, as asked for, and refusing what makes no sense."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from label_maps import noise

from dht_mm.structures import Partition
from dht_mm.vector import save_svg, vectorize, vectorize_published

SVG = '{http://www.w3.org/2000/svg}'
XLINK = '{http://www.w3.org/1999/xlink}'
LABELS = np.kron(noise(4, 5, 7, seed=3), np.ones((4, 4), int))
IMAGE = np.random.default_rng(0).integers(0, 256, (16, 20, 3)).astype(np.uint8)
COUNT = len(np.unique(LABELS))


def tree(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.encode())


def group(root: ElementTree.Element) -> ElementTree.Element:
    return root.find(f'{SVG}g[@id="regions"]')


def test_document_has_size_view_box_title_and_a_path_for_each_region():
    root = tree(vectorize(IMAGE, LABELS, title='a < b & "c"'))
    assert root.tag == f'{SVG}svg' and root.get('version') == '1.1'
    assert (root.get('width'), root.get('height'), root.get('viewBox')) == ('20', '16', '0 0 20 16')
    assert root[0].tag == f'{SVG}title' and root[0].text == 'a < b & "c"'
    paths = group(root).findall(f'{SVG}path')
    assert len(paths) == COUNT and group(root).get('fill-rule') == 'evenodd'
    for path in paths:
        assert re.fullmatch('#[0-9a-f]{6}', path.get('fill')) and re.fullmatch(r'[Mhvlcz\d\s-]+', path.get('d'))
    assert group(root).get('transform') == 'scale(0.25)'


def test_every_reference_leads_somewhere():
    root = tree(vectorize(IMAGE, LABELS, least_gain=0))
    ids = [element.get('id') for element in root.iter() if element.get('id')]
    links = [element.get(f'{XLINK}href')[1:] for element in root.iter() if element.get(f'{XLINK}href')]
    fills = [re.fullmatch(r'url\(#(g\d+)\)', path.get('fill')).group(1) for path in group(root).findall(f'{SVG}path')]
    assert len(set(ids)) == len(ids) and set(links) | set(fills) <= set(ids) and len(set(fills)) == COUNT


@pytest.mark.parametrize('shape', [(1, 1), (1, 13), (13, 1), (2, 2), (7, 9)])
@pytest.mark.parametrize('labels', [1, 4])
def test_any_size(shape: tuple[int, int], labels: int):
    regions = noise(*shape, labels)
    image = np.full((*shape, 3), 77, np.uint8)
    for options in ({}, dict(tolerance=0), dict(tolerance=9.0, steps=1, least_gain=0), dict(background='squares')):
        assert len(group(tree(vectorize(image, regions, **options)))) == len(np.unique(regions))


def test_partition_tensor_and_labels_give_the_same():
    labels = np.unique(LABELS.ravel(), return_index=True, return_inverse=True)
    labels = np.argsort(np.argsort(labels[1]))[labels[2]].reshape(LABELS.shape)  # in raster order of first pixels
    partition = Partition.from_labels(torch.from_numpy(labels)[None], torch.zeros(1, 3, 16, 20))
    expected = vectorize(IMAGE, labels)
    assert vectorize(IMAGE, partition) == expected == vectorize(IMAGE, partition.labels[0]) == vectorize(IMAGE, labels)


def test_labels_need_not_be_numbered_without_gaps():
    assert vectorize(IMAGE, LABELS * 1000 - 7) == vectorize(IMAGE, LABELS)


def test_levels_group_the_paths():
    levels = np.arange(COUNT) % 2 * 3
    root = tree(vectorize(IMAGE, LABELS, levels=levels))
    groups = group(root).findall(f'{SVG}g')
    assert [member.get('id') for member in groups] == ['level-0', 'level-3']
    assert [len(member) for member in groups] == [(levels == 0).sum(), (levels == 3).sum()]


def test_merged_colors_are_one_path_without_inner_borders():
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, 3:] = 200
    labels = np.arange(24).reshape(4, 6) // 2
    labels[:, 2:4] = [[90, 91]]
    paths = group(tree(vectorize(image, labels, merge_colors=True, steps=1)))
    assert [(path.get('fill'), path.get('d')) for path in paths] == [
        ('#000000', 'M0 4v-4h3v4z'), ('#c8c8c8', 'M3 4v-4h3v4z')]


@pytest.mark.parametrize('background, rects', [('mean', 1), ('squares', 6), ('#12aB34', 1), (None, 0)])
def test_backgrounds(background: str | None, rects: int):
    image = np.zeros((40, 70, 3), np.uint8)
    found = tree(vectorize(image, noise(40, 70, 3), background=background)).findall(f'{SVG}rect')
    assert len(found) == rects and (background != '#12aB34' or found[0].get('fill') == '#12aB34')


@pytest.mark.parametrize('draw', [vectorize, vectorize_published])
def test_titles_that_xml_cannot_hold_are_mended(draw):
    assert tree(draw(IMAGE, LABELS, title='a\0\x1b\udc80b'))[0].text == 'a\ufffd\ufffd\ufffdb'


@pytest.mark.parametrize('options, message', [
    (dict(tolerance=-1.0), 'tolerance must be a finite number of pixels, at least 0, got -1'),
    (dict(tolerance=np.nan), 'tolerance must be'), (dict(tolerance=np.inf), 'tolerance must be'),
    (dict(steps=0), 'steps must be an integer from 1 to 1000, got 0'), (dict(steps=2.5), 'steps must be'),
    (dict(least_gain=-1.0), 'least_gain must be at least 0, got -1'), (dict(least_gain=np.nan), 'least_gain must be'),
    (dict(background='red'), "background must be 'mean', 'squares', '#rrggbb' or None, got 'red'"),
    (dict(levels=[1, 2]), 'levels must be an integer of at least 0 for each of'),
    (dict(levels=np.full(COUNT, -1)), 'levels must be an integer of at least 0'),
    (dict(levels=np.zeros(COUNT, int), merge_colors=True), 'levels must be None with merge_colors=True'),
])
def test_bad_options_are_named(options: dict, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        vectorize(IMAGE, LABELS, **options)


@pytest.mark.parametrize('image, labels, error, message', [
    (IMAGE.astype(float), LABELS, TypeError, 'image must be a uint8 numpy array'),
    (IMAGE[..., :1], LABELS, ValueError, 'image must be a non-empty RGB picture'),
    (IMAGE[:0], LABELS[:0], ValueError, 'image must be a non-empty RGB picture'),
    (IMAGE, LABELS.astype(float), TypeError, 'regions must be a Partition or integer labels'),
    (IMAGE, LABELS[1:], ValueError, 'regions must have the size of the image'),
])
def test_bad_images_and_regions_are_named(image: np.ndarray, labels: np.ndarray, error: type, message: str):
    for draw in (vectorize, vectorize_published):
        with pytest.raises(error, match=message):
            draw(image, labels)


def test_files_are_whole_or_not_there(tmp_path: Path):
    save_svg(tmp_path / 'a.svg', vectorize(IMAGE, LABELS, title='Größe'))
    assert ElementTree.parse(tmp_path / 'a.svg').getroot()[0].text == 'Größe'
    with pytest.raises(FileNotFoundError, match='must lie in an existing folder'):
        save_svg(tmp_path / 'gone/a.svg', '')
