"""Trained tokenizers that come inside the package, at addresses such as ``dht_mm://tokenizer_c01``."""

from pathlib import Path

SCHEME = 'dht_mm://'
FOLDER = Path(__file__).parent / 'weights'
# Compactness that each was trained at. docs/tokenizer.md says on what, how, and with which log.
SHIPPED = {0.01: 'tokenizer_c001', 0.1: 'tokenizer_c01'}


def shipped_tokenizer(compactness: float) -> str:
    """Address of the trained tokenizer whose compactness is nearest to this one."""
    return SCHEME + SHIPPED[min(SHIPPED, key=lambda trained: abs(trained - compactness))]


def resolve(path: str | Path) -> Path:
    """The file at a path, or behind the address of a shipped tokenizer.

    Raises:
        ValueError: No shipped tokenizer has this address.
    """
    if not str(path).startswith(SCHEME):
        return Path(path)
    name = str(path).removeprefix(SCHEME)
    if name not in SHIPPED.values():
        raise ValueError(f'path must be a file or one of {[SCHEME + name for name in SHIPPED.values()]}, got {path}')
    return FOLDER / f'{name}.pth'
