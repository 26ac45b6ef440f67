"""Converting weights with a record of what became of every key."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Conversion:
    """Takes keys out of a source one by one; what is missing or left in the end is an error.

    Args:
        source: The state dict to convert; not changed.
        layout: Name of its layout, for errors and reports.

    Attributes:
        state_dict: The result.
        mapped: Keys of the source, with the keys of the result that they went to.
        resampled: Keys of the source that changed their size on the way, and how.
        filled: Keys of the result that the source has nothing for, and what they were set to.
        missing: Keys of a model that the result leaves as they are, and why.
        unused: Keys of the source, with the reason why nothing of them is in the result.
        options: Options of the model that the result fits, as far as the conversion tells them.
    """

    def __init__(self, source: Mapping[str, Tensor], layout: str = 'published'):
        self.layout = layout
        self.state_dict: dict[str, Tensor] = {}
        self.mapped: dict[str, tuple[str, ...]] = {}
        self.resampled: dict[str, str] = {}
        self.filled: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self.unused: dict[str, str] = {}
        self.options: dict[str, Any] = {}
        self._left = dict(source)
        self._lacking: list[str] = []

    def __contains__(self, key: str) -> bool:
        """Whether the source still holds ``key``."""
        return key in self._left

    def keys(self) -> list[str]:
        """What the source still holds."""
        return list(self._left)

    def read(self, key: str) -> Tensor:
        """A value that the conversion depends on; the key stays in the source.

        Raises:
            ValueError: There is no such key.
        """
        if key not in self._left:
            raise ValueError(f'state dict must have {key}, but has not')
        return self._left[key]

    def move(self, key: str, target: str) -> None:
        """Give a value another key."""
        self.split(key, [target])

    def split(self, key: str, targets: Sequence[str], sizes: Sequence[int] = ()) -> None:
        """Give a value other keys; with several ``sizes`` each gets so many of its columns."""
        if key not in self._left:
            self._lacking.append(key)
            return
        value = self._left[key]
        parts = value.split(list(sizes), 1) if sizes else [value]
        self.put(key, {target: part.clone() for target, part in zip(targets, parts, strict=True)})

    def put(self, key: str, values: Mapping[str, Tensor], resampled: str | None = None) -> None:
        """Enter values that were computed from a key and, if its size changed, how."""
        del self._left[key]
        self.mapped[key] = tuple(values)
        self.state_dict |= values
        if resampled is not None:
            self.resampled[key] = resampled

    def fill(self, target: str, value: Tensor, what: str) -> None:
        """Enter a value that the source has nothing for."""
        self.state_dict[target] = value
        self.filled[target] = what

    def join(self, keys: Sequence[str], target: str) -> None:
        """Undo :meth:`split`: enter the columns of several values as one value.

        Raises:
            ValueError: A value is missing.
        """
        columns = torch.cat([self.read(key) for key in keys], 1)
        for key in keys:
            self.put(key, {target: columns})

    def leave(self, key: str, reason: str) -> None:
        """Use nothing of a key, which need not be there."""
        if self._left.pop(key, None) is not None:
            self.unused[key] = reason

    def finish(self) -> 'Conversion':
        """The conversion, if it is complete.

        Raises:
            ValueError: A key was missing, or one is left.
        """
        if self._lacking or self._left:
            raise ValueError(f'state dict must have the {self.layout} layout, but lacks {sorted(self._lacking)} '
                             f'and adds {sorted(self._left)}')
        return self

    def report(self) -> str:
        """A line for each key of the source, and for each key of a model that it has nothing for."""
        lines = [f'{key} -> {", ".join(targets)}{self._note(key)}' for key, targets in self.mapped.items()]
        lines += [f'{key} not used: {reason}' for key, reason in self.unused.items()]
        lines += [f'{key} missing in the source, set to {what}' for key, what in self.filled.items()]
        return '\n'.join(lines + [f'{key} missing in the source, not set: {reason}' for key, reason in self.missing.items()])

    def _note(self, key: str) -> str:
        return f' (resampled {self.resampled[key]})' if key in self.resampled else ''
