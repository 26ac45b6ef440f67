"""The page's server answers with what the package computes; in a browser the page shows it and follows its controls."""

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import app as tool
import numpy as np
import pytest
import torch
from PIL import Image
from tokenize_image import normalize

from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer
from dht_mm.vector import vectorize
from dht_mm.visualization import level_labels, num_levels, paint_mean_color, paint_selected_levels, read_image


@pytest.fixture
def server(checkpoint: Path) -> Iterator[tool.Server]:
    tokenizer = DHTTokenizer(compactness=0.2).eval()
    load_tokenizer(tokenizer, checkpoint)
    server = tool.Server(tool.App(tokenizer, 64))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def ask(server: tool.Server, path: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(server.url + path, body, timeout=30) as answer:
        return json.loads(answer.read())


def refusal(server: tool.Server, path: str, body: bytes | None = None) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(server, path, body)
    return error.value.code, json.loads(error.value.read())['error']


def picture_of(url: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.removeprefix('data:image/png;base64,')))))


@torch.no_grad()
def test_answer_is_what_the_package_computes(server, photo: Path, checkpoint: Path):
    image = read_image(photo)
    tokenizer = DHTTokenizer(compactness=0.5, criterion='bic', token_budget=dict(mode='hard', test=5)).eval()
    load_tokenizer(tokenizer, checkpoint)
    partition, hierarchy = tokenizer(normalize(image, 'cpu')), tokenizer.hierarchy(normalize(image, 'cpu'))
    result = ask(server, '/analyse?tokens=5&criterion=bic&compactness=0.5', photo.read_bytes())
    assert (result['width'], result['height'], result['regions']) == (32, 24, partition.total_regions)
    assert (picture_of(result['image']) == image).all() and result['svg'] == vectorize(image, partition)
    selection, colors = paint_selected_levels(hierarchy)
    assert (picture_of(result['selection']) == selection).all() and result['colors'] == {name: [*rgb] for name, rgb in colors.items()}
    assert (picture_of(result['mean_color']) == paint_mean_color(image, partition)).all()
    assert picture_of(result['borders']).shape == (48, 64, 3), 'enlarged to twice its size, so that borders hide less'
    assert len(result['levels']) == num_levels(hierarchy) > 1
    for number, level in enumerate(result['levels'], 1):
        labels = level_labels(hierarchy, number)[0]
        assert level['regions'] == labels.max() + 1 and (picture_of(level['picture']) == paint_mean_color(image, labels)).all()


def test_without_settings_they_are_those_of_the_tokenizer(server, photo: Path):
    assert ask(server, '/settings') == dict(criterion='aicc', compactness=0.2)
    same = [ask(server, f'/analyse?{query}', photo.read_bytes())['svg'] for query in ('', 'tokens=&criterion=aicc&compactness=0.2')]
    assert same[0] == same[1] != ask(server, '/analyse?compactness=0.9', photo.read_bytes())['svg']


def test_large_photos_are_reduced_and_small_ones_are_not_enlarged(server):
    for size, expected in (((200, 100), (64, 32)), ((3, 1), (3, 1))):
        file = io.BytesIO()
        Image.new('RGB', size, 'teal').save(file, 'JPEG')
        result = ask(server, '/analyse', file.getvalue())
        assert (result['width'], result['height']) == expected


@pytest.mark.parametrize('query, message', [
    ('compactness=2', 'compactness must be in [0, 1), got 2.0'), ('compactness=x', "compactness must be a number, got 'x'"),
    ('tokens=0', 'must be a positive integer'), ('tokens=1.5', "tokens must be a number, got '1.5'"), ('criterion=best', "got 'best'"),
    ('color=1', 'settings must be tokens, criterion and compactness, got color'),
])
def test_bad_settings_are_named(server, photo: Path, query: str, message: str):
    code, error = refusal(server, f'/analyse?{query}', photo.read_bytes())
    assert code == 400 and message in error


def test_what_is_no_photo_is_refused_and_the_server_goes_on(server, photo: Path, monkeypatch: pytest.MonkeyPatch):
    for file in (b'text', photo.read_bytes()[:200]):
        assert refusal(server, '/analyse', file) == (400, 'the file must be a readable image, but it is not')
    assert refusal(server, '/analyse', b'')[0] == 413 and refusal(server, '/other', b'x')[0] == 404 == refusal(server, '/other')[0]
    monkeypatch.setattr(tool, 'MOST_BYTES', 10)
    assert refusal(server, '/analyse', photo.read_bytes())[0] == 413
    assert ask(server, '/settings')


@pytest.mark.parametrize('options, message', [
    (['--size', '0'], '--size must be from 1 to 2048, got 0'), (['--port', '99999'], '0-65535'),
    (['--checkpoint', 'gone'], 'gone does not exist'),
])
def test_bad_options_are_named(checkpoint: Path, capsys: pytest.CaptureFixture, options: list[str], message: str):
    with pytest.raises(SystemExit) as stop:
        tool.main(['--checkpoint', str(checkpoint), '--port', '0', *options])
    assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Headless Chromium, as Debian packs it."""
    webdriver = pytest.importorskip('selenium.webdriver', reason='needs selenium')
    programs = shutil.which('chromium'), shutil.which('chromedriver')
    if None in programs:
        pytest.skip('needs chromium and chromedriver (Debian: chromium, chromium-driver)')
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for option in ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--window-size=1280,860',
                   f'--user-data-dir={tmp_path / "profile"}'):
        options.add_argument(option)
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    driver.set_script_timeout(30)
    yield driver
    driver.quit()


DROP = """const bytes = Uint8Array.from(atob(arguments[0]), it => it.charCodeAt()), data = new DataTransfer();
data.items.add(new File([bytes], 'dropped.png'));
document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}))"""
MOVE = "const [id, value] = arguments, it = document.getElementById(id); it.value = value; it.dispatchEvent(new Event('input'))"


def test_page_in_a_browser(server, browser, photo: Path, tmp_path: Path):
    from selenium.webdriver.support.ui import WebDriverWait

    def text(name: str) -> str:
        return browser.find_element('id', name).text

    def wait_for(condition: Any) -> None:
        WebDriverWait(browser, 30, 0.05).until(lambda _: condition())

    browser.get(server.url)
    wait_for(lambda: text('compactness-text') == '0.20')
    assert not browser.find_element('tag name', 'main').is_displayed() and text('tokens-text') == 'none'
    browser.find_element('id', 'file').send_keys(str(photo))
    wait_for(lambda: ' in 32 × 24 pixels' in text('status'))
    widths = browser.execute_script("return [...document.querySelectorAll('main img')].map(it => it.naturalWidth)")
    wait_for(lambda: all(browser.execute_script("return [...document.querySelectorAll('main img')].map(it => it.naturalWidth)")))
    assert len(widths) == 6
    free, svg = int(text('borders-text').split()[0]), browser.find_element('id', 'svg').get_attribute('src')
    assert free == ask(server, '/analyse', photo.read_bytes())['regions'] > 3

    browser.execute_script(MOVE, 'tokens', 0)
    wait_for(lambda: text('tokens-text') == 'at most 2' and text('borders-text') in ('2 regions', '1 region'))
    assert browser.find_element('id', 'svg').get_attribute('src') != svg
    browser.execute_script(MOVE, 'tokens', 100)
    browser.execute_script(MOVE, 'compactness', 0.9)
    browser.execute_script(MOVE, 'criterion', 'bic')
    expected = ask(server, '/analyse?criterion=bic&compactness=0.9', photo.read_bytes())
    wait_for(lambda: browser.find_element('id', 'image').is_displayed() and text('borders-text') == f'{expected["regions"]} regions')

    assert [item.text for item in browser.find_elements('css selector', '#colors li')] == [*expected['colors']]
    browser.execute_script(MOVE, 'level', 1)
    assert text('level-text') == f'Level 1: {expected["levels"][0]["regions"]} regions'
    assert browser.find_element('id', 'level-picture').get_attribute('src') == expected['levels'][0]['picture']

    file = io.BytesIO()
    Image.new('RGB', (10, 20), 'teal').save(file, 'PNG')
    browser.execute_script(DROP, base64.b64encode(file.getvalue()).decode())
    wait_for(lambda: text('status').startswith('1 region in 10 × 20 pixels'))

    (tmp_path / 'text.jpg').write_text('no image')
    browser.find_element('id', 'file').send_keys(str(tmp_path / 'text.jpg'))
    wait_for(lambda: 'must be a readable image' in text('status'))
    assert 'wrong' in browser.find_element('id', 'status').get_attribute('class')
    assert not [entry for entry in browser.get_log('browser') if 'status of 400' not in entry['message']]


def test_it_runs_as_a_command_until_it_is_interrupted(checkpoint: Path):
    command = [sys.executable, '-W', 'ignore', tool.__file__, '--checkpoint', checkpoint, '--port', '0']
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}  # also where the package is not installed
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which jobs in a shell's background ignore
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=heard) as process:
        try:
            line = process.stdout.readline()
            with urllib.request.urlopen(line.split()[1], timeout=30) as page:
                assert page.read() == tool.PAGE.read_bytes() and page.headers['Content-Type'].startswith('text/html')
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
