"""Files that are there whole or not at all, and those that are not as they were written."""

import os
import zipfile
from pathlib import Path

UNFINISHED = '.unfinished'  # one name for all, so that what a killed run leaves is overwritten by the next file


def write_whole(path: str | Path, data: bytes) -> None:
    """Write a file in the place of an older one, if any, so that a crash at any moment leaves the older or the new one.

    Raises:
        OSError: It cannot be written, such as on a full disk; names the file, which is as it was before.
    """
    path = Path(path)
    unfinished = path.with_name(UNFINISHED)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(unfinished, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        if unfinished.exists() and os.access(path.parent, os.W_OK):
            unfinished.unlink()  # its part of the data would keep the disk full
        raise OSError(error.errno, f'{error.strerror} (not written; what was there before is intact)', str(path)) from error
    _flush_names(path.parent)


def _flush_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_checkpoint(path: str | Path) -> None:
    """Raise a ValueError that names the file if it is no checkpoint or not as it was written: truncated, or with a changed byte.

    Reads the whole file. Bytes are checked by the sums that ``torch.save`` writes. Files in its format before torch 1.6, pickles without
    sums, pass.
    """
    try:
        with open(path, 'rb') as file:
            if file.read(1) == b'\x80':  # a pickle
                return
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ValueError(f'checkpoint {path} is damaged or was cut short: {error}') from error
    if damaged is not None:
        raise ValueError(f'checkpoint {path} is damaged: {damaged} in it has changed since it was written')
