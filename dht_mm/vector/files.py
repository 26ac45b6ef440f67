"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def save_svg(path: str | Path, svg: str) -> None:
    """Write an SVG document, in UTF-8.

    Args:
        path: The file to write or replace; its folder must exist.
        svg: What :func:`dht_mm.vector.vectorize` returns.

    Raises:
        FileNotFoundError: The folder does not exist.
    """
    with atomic_file(path) as file:
        file.write(svg.encode())


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file open for writing that appears at ``path`` only when the block ends without an error.

    An interruption or a full disk leaves what was at ``path`` before, and no partial file.

    Args:
        path: The file to write or replace; its folder must exist.

    Raises:
        FileNotFoundError: The folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f'path must lie in an existing folder, but {path.parent} does not exist')
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, 'wb') as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
