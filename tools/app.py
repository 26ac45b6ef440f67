"""A local web page: drop a photo, move the token budget, criterion and compactness, and see regions, levels and SVG at once.

    python tools/app.py --checkpoint tokenizer.pth
    # then open http://127.0.0.1:7860

It needs nothing but this package, listens on this computer alone unless --host says otherwise, and keeps no photo. Ctrl-C ends it.
"""

import argparse
import base64
import io
import json
import sys
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import torch
from PIL import Image
from tokenize_image import add_tokenizer_options, build_tokenizer, normalize, resize

from dht_mm.tokenizer import DHTTokenizer
from dht_mm.vector import vectorize
from dht_mm.visualization import draw_borders, level_labels, num_levels, paint_mean_color, paint_selected_levels, read_image, upscale

PAGE = Path(__file__).with_suffix('.html')
DEFAULT_SIZE, LARGEST_SIZE = 512, 2048  # pixels of the longer side
MOST_BYTES = 64 * 2**20  # of a photo's file


class App:
    """The tokenizer's weights, and what the page shows of an image.

    Args:
        tokenizer: A tokenizer with its weights; its options are the page's first settings.
        size: Pixels of the longer side to which larger images are reduced.
    """

    def __init__(self, tokenizer: DHTTokenizer, size: int = DEFAULT_SIZE):
        self.tokenizer, self.size = tokenizer, size
        self._turn = threading.Lock()

    def settings(self) -> dict[str, Any]:
        """What the page's controls start with."""
        return {name: self.tokenizer.options[name] for name in ('criterion', 'compactness')}

    def analyse(self, file: bytes, tokens: str = '', **options: str) -> dict[str, Any]:
        """Everything that the page shows.

        Args:
            file: The content of an image file.
            tokens: The most regions; empty for as many as the tokenizer selects.
            **options: ``criterion`` and ``compactness``.

        Returns:
            Pictures as data URLs, the SVG as text, and numbers.

        Raises:
            ValueError: The file is no image, or a setting is unknown or out of its range.
        """
        image = _read(file)
        image = resize(image, min(self.size, max(image.shape)))
        tokenizer = self._with(tokens, **options)
        inputs = normalize(image, next(tokenizer.parameters()).device)
        with self._turn, torch.inference_mode():
            start = time.perf_counter()
            labels = tokenizer(inputs).labels[0].cpu().numpy()
            seconds = time.perf_counter() - start
            hierarchy = tokenizer.hierarchy(inputs)
            levels = [level_labels(hierarchy, level)[0] for level in range(1, num_levels(hierarchy) + 1)]
            selection, colors = paint_selected_levels(hierarchy)
        scale = max(1, self.size // max(image.shape))
        return dict(
            width=image.shape[1], height=image.shape[0], regions=int(labels.max()) + 1, seconds=seconds, image=_data_url(image),
            borders=_data_url(draw_borders(upscale(image, scale), upscale(labels, scale))),
            mean_color=_data_url(paint_mean_color(image, labels)), selection=_data_url(selection), colors=colors,
            svg=vectorize(image, labels),
            levels=[dict(regions=int(level.max()) + 1, picture=_data_url(paint_mean_color(image, level))) for level in levels])

    def _with(self, tokens: str, **options: Any) -> DHTTokenizer:
        """The tokenizer with other settings and the same weights."""
        if unknown := options.keys() - self.settings().keys():
            raise ValueError(f'settings must be tokens, criterion and compactness, got {sorted(unknown)[0]}')
        if 'compactness' in options:
            options['compactness'] = _number('compactness', options['compactness'], float)
        budget = dict(mode='hard', test=_number('tokens', tokens, int)) if tokens else None
        tokenizer = DHTTokenizer(self.tokenizer.in_channels, **self.tokenizer.options | options, token_budget=budget)
        tokenizer.load_state_dict(self.tokenizer.state_dict())
        return tokenizer.to(next(self.tokenizer.parameters()).device).eval()


def _read(file: bytes) -> np.ndarray:
    try:
        return read_image(io.BytesIO(file))
    except ValueError as error:
        raise ValueError('the file must be a readable image, but it is not') from error


def _number(name: str, text: str, kind: type) -> float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f'{name} must be a number, got {text!r}') from None


def _data_url(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format='PNG', compress_level=1)
    return 'data:image/png;base64,' + base64.b64encode(file.getvalue()).decode()


class Handler(BaseHTTPRequestHandler):
    """``GET /`` is the page, ``GET /settings`` what it starts with, ``POST /analyse?SETTINGS`` takes a photo's file."""

    server: 'Server'

    def do_GET(self) -> None:
        """Answer the page's two questions."""
        if self.path == '/':
            self._send(HTTPStatus.OK, PAGE.read_bytes(), 'text/html; charset=utf-8')
        elif self.path == '/settings':
            self._send_json(HTTPStatus.OK, self.server.app.settings())
        else:
            self._send_json(HTTPStatus.NOT_FOUND, dict(error=f'there is no {self.path}'))

    def do_POST(self) -> None:
        """Analyse a photo."""
        url, length = urlsplit(self.path), self.headers.get('Content-Length', '')
        length = int(length) if length.isdecimal() else 0
        if url.path != '/analyse':
            self._send_json(HTTPStatus.NOT_FOUND, dict(error=f'there is no {url.path}'))
        elif not 0 < length <= MOST_BYTES:
            self.close_connection = True  # what follows is not read
            self._send_json(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, dict(error=f'a photo must have 1 to {MOST_BYTES} bytes, got {length}'))
        else:
            self._analyse(self.rfile.read(length), dict(parse_qsl(url.query)))

    def _analyse(self, file: bytes, settings: dict[str, str]) -> None:
        try:
            answer = HTTPStatus.OK, self.server.app.analyse(file, **settings)
        except (TypeError, ValueError) as error:
            answer = HTTPStatus.BAD_REQUEST, dict(error=str(error))
        self._send_json(*answer)

    def _send_json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content).encode(), 'application/json')

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('Cache-Control', 'no-store')
        self.end_headers()
        self.wfile.write(body)

    def handle_one_request(self) -> None:
        """One request, whose page may be gone before the answer: it has moved a slider on."""
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing: the page itself shows what went wrong."""


class Server(ThreadingHTTPServer):
    """The page of an app at an address; port 0 takes a free one."""

    daemon_threads = True

    def __init__(self, app: App, host: str = '127.0.0.1', port: int = 0):
        super().__init__((host, port), Handler)
        self.app = app

    @property
    def url(self) -> str:
        """Where the page is."""
        return f'http://{self.server_address[0]}:{self.server_address[1]}'


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_tokenizer_options(parser)
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on (default: %(default)s, this computer alone)')
    parser.add_argument('--port', type=int, default=7860, help='0 takes a free one (default: %(default)s)')
    args = parser.parse_args(argv)
    size = DEFAULT_SIZE if args.size is None else args.size
    if not 1 <= size <= LARGEST_SIZE:
        parser.error(f'--size must be from 1 to {LARGEST_SIZE}, got {size}')
    try:
        server = Server(App(build_tokenizer(args), size), args.host, args.port)
    except (ValueError, OSError, OverflowError) as error:
        parser.error(str(error))
    print(f'open {server.url} in a browser; Ctrl-C ends it', flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()
    return 0


if __name__ == '__main__':
    sys.exit(main())
