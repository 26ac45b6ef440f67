"""Random label maps and pictures to SVG, and broken files to the readers of pictures."""

import io
import tempfile
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

import numpy as np
from draws import Draws, choice, generator
from PIL import Image
from refusals import refused

from dht_mm.vector import merge_regions, vectorize
from dht_mm.visualization import read_image

FORMATS = ('PNG', 'JPEG', 'BMP', 'GIF', 'TIFF', 'WEBP')


def picture_target(draws: Draws) -> int:
    """One case: a document of a random label map, or a file with broken bytes."""
    choice(draws, (check_svg, check_broken_file))(draws)
    return 1


def check_svg(draws: Draws) -> None:
    """The document is well-formed XML and has a path for each region that is left."""
    numbers = generator(draws)
    height, width = draws.integer(1, 16), draws.integer(1, 16)
    labels = numbers.integers(0, draws.integer(1, 8), (height, width)) * draws.integer(1, 9)
    picture = numbers.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if choice(draws, (False, True)):
        count = draws.integer(1, 9)
        labels = merge_regions(picture, np.unique(labels, return_inverse=True)[1].reshape(labels.shape), count)
    svg = vectorize(picture, labels, tolerance=choice(draws, (0.5, 0, 3.0)), steps=choice(draws, (4, 1, 100)),
                    background=choice(draws, ('mean', None, 'squares', '#00ff00')), least_gain=choice(draws, (float('inf'), 0.0)),
                    title=choice(draws, ('Regions', '<&">', '')))
    paths = [element for element in ElementTree.fromstring(svg).iter() if element.tag.endswith('}path')]
    assert len(paths) == len(np.unique(labels)), f'{len(paths)} paths of {len(np.unique(labels))} regions'


@cache
def whole_file(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(buffer, kind)
    return buffer.getvalue()


def check_broken_file(draws: Draws) -> None:
    """A reader gives a picture, or refuses and names the file."""
    content = bytearray(whole_file(choice(draws, FORMATS)))
    for _ in range(draws.integer(0, 6)):
        content[draws.integer(0, len(content) - 1)] = draws.integer(0, 255)
    if draws.integer(0, 1):
        del content[draws.integer(0, len(content)):]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'broken.png'
        path.write_bytes(content)
        found = []
        message = refused(lambda: found.append(read_image(path)))
    if message is None:
        assert found[0].dtype == np.uint8 and found[0].ndim == 3
    else:
        assert 'broken.png' in message, message
