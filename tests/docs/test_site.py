"""The site builds without a warning, and what its pages name is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / 'docs').glob('*.md'))
TEXTS = [*PAGES, *ROOT.glob('*.md'), *(ROOT / 'configs').rglob('*.md')]


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    """The built site."""
    for module in ('sphinx', 'myst_parser', 'furo', 'mmseg', 'mmpretrain'):
        pytest.importorskip(module, reason="needs the toolkits and pip install 'dht_mm[docs]'")
    folder = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-W', 'ignore', '-m', 'sphinx', '-q', '-W', '--keep-going', ROOT / 'docs', folder]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize('room, name', [
    ('tokenizer', 'DHTTokenizer'), ('backbones', 'DHTViT'), ('heads', 'TokenHead'), ('ops', 'build_hierarchy')])
def test_public_names_are_documented_with_their_shapes(site, room, name):
    page = (site / f'_generated/api/{room}.html').read_text()
    assert f'id="dht_mm.{room}.{name}"' in page and re.search(r'\[B.*?H.*?W', page)


def test_every_page_and_its_pictures_are_on_the_site(site):
    for page in PAGES:
        html = (site / f'{page.stem}.html').read_text()
        pictures = re.findall(r'!\[[^\]]*\]\(([^)]+)\)', page.read_text())
        assert all(f'_images/{Path(picture).name}' in html for picture in pictures), page


def test_no_page_needs_a_network(site):
    for page in site.rglob('*.html'):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="([^"]+)"|<link[^>]+rel="stylesheet"[^>]+href="([^"]+)"', page.read_text())
        assert not [source for pair in loaded for source in pair if source.startswith(('http', '//'))], page


@pytest.mark.parametrize('text', TEXTS, ids=lambda text: text.relative_to(ROOT).as_posix())
def test_links_and_named_files_exist(text):
    content = text.read_text()
    links = re.findall(r'\]\((?!https?:|#)([^)#\s]+)', content)
    assert not [link for link in links if not (text.parent / link).exists()
                and not (ROOT / 'docs' in text.parents and link.startswith('_generated/'))]
    files = re.findall(r'(?<![\w/.])((?:configs/(?:dht|_base_)|tools|tests|benchmarks|docs|dht_mm)/[\w/.-]+\.(?:py|md|sh))\b', content)
    assert not [name for name in files if 'NAME' not in name and not (ROOT / name).is_file()]


def test_front_page_links_every_page_for_readers_on_github():
    links = set(re.findall(r'\]\(([\w]+\.md)\)', (ROOT / 'docs/index.md').read_text()))
    assert links == {page.name for page in PAGES} - {'index.md'}
