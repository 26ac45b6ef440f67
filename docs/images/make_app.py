"""Makes the picture of the web page in docs/visualization.md, in headless Chromium.

    python docs/images/make_app.py CHECKPOINT

CHECKPOINT holds a tokenizer. Needed are selenium and Debian's packages chromium and chromium-driver. The photograph is
skimage.data.coffee(), CC0 by its photographer Rachel Michetti.
"""

import argparse
import io
import sys
import tempfile
import threading
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait
from skimage import data

from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer
from dht_mm.visualization import save_png

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / 'tools'))
from app import App, Server  # noqa: E402

SIZE = 1280, 860  # width and height of the window in pixels
BUDGET, LEVEL = 75, 6  # places of the sliders
COLORS = 256
MOVE = "const it = document.getElementById(arguments[0]); it.value = arguments[1]; it.dispatchEvent(new Event('input'))"


def photograph(url: str, photo: Path, out: Path) -> None:
    """Give the page a photo and a token budget, and write what the window shows."""
    options = webdriver.ChromeOptions()
    options.binary_location = '/usr/bin/chromium'
    for option in ('--headless=new', '--no-sandbox', '--hide-scrollbars', f'--window-size={SIZE[0]},{SIZE[1]}'):
        options.add_argument(option)
    with webdriver.Chrome(options, webdriver.ChromeService('/usr/bin/chromedriver')) as browser:
        browser.get(url)
        browser.find_element('id', 'file').send_keys(str(photo))
        wait(browser)
        for name, value in (('tokens', BUDGET), ('level', LEVEL)):
            browser.execute_script(MOVE, name, value)
        WebDriverWait(browser, 60).until(lambda _: browser.find_element('id', 'tokens-text').text.endswith(
            browser.find_element('id', 'borders-text').text.split()[0]))
        wait(browser)
        shot = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert('RGB')
    shot.quantize(COLORS, Image.Quantize.MAXCOVERAGE, kmeans=5).save(out, optimize=True)


def wait(browser: webdriver.Chrome) -> None:
    """Until all pictures are there."""
    loaded = "return [...document.querySelectorAll('main img')].every(it => it.complete && it.naturalWidth)"
    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(loaded))


def main() -> None:
    """Serves the page and photographs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--out', type=Path, default=HERE / 'app.png')
    args = parser.parse_args()
    tokenizer = DHTTokenizer(compactness=0.01).eval()
    load_tokenizer(tokenizer, args.checkpoint)
    server = Server(App(tokenizer))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / 'coffee.png'
        save_png(photo, data.coffee())
        photograph(server.url, photo, args.out)
    server.shutdown()


if __name__ == '__main__':
    main()
