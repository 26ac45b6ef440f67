"""What a clear refusal of bad input is."""

import re
import traceback
from collections.abc import Callable
from pathlib import Path

import mmengine.registry
from mmseg.models import decode_heads
from torch import _ops

import dht_mm

# Who may refuse: this package, mmengine's registry where a config is none, and the base classes of heads.
PACKAGES = tuple(str(Path(module.__file__).parent) for module in (dht_mm, mmengine.registry, decode_heads))
REFUSALS = (TypeError, ValueError, KeyError, FileNotFoundError)
# What the innards of torch and of our kernels say, and no message to a user should.
INNARDS = re.compile(r'internal assert|aten::|c10::|torch\.ops|dht_mm_ext|\.cpp|\.cu\b|Traceback|Expected all tensors|broadcast', re.I)


def refused(call: Callable[[], object]) -> str | None:
    """The message with which a call is refused; None if it is not.

    Raises:
        AssertionError: It fails in a way that is no clear refusal: by an error of another kind, or one that was not raised by this
            package, its kernels or by Python's own check of the arguments' names, or with a message that shows innards.
    """
    try:
        call()
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        message = str(error)
        if "can't allocate memory" in message:  # huge sizes are no mistake that we could tell
            return message
        by_kernel = last.filename == _ops.__file__ and re.match(r'\w+ must ', message)
        clear = isinstance(error, REFUSALS) and (last.filename.startswith(PACKAGES) or by_kernel or 'argument' in message)
        if not clear or not message or INNARDS.search(message):
            raise AssertionError(f'{type(error).__name__} from {last.filename}:{last.lineno}: {message[:400]}') from error
        return message
    return None
