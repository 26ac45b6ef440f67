"""Converting weights with a record of what became of every key."""

from collections.abc import Mapping, Sequence

from torch import Tensor


class Conversion:
    """Takes keys out of a source one by one; what is missing or left in the end is an error.

    Args:
        source: The state dict to convert; not changed.

    Attributes:
        state_dict: The result.
        mapped: Keys of the source, with the keys of the result that they went to.
        unused: Keys of the source, with the reason why nothing of them is in the result.
    """

    def __init__(self, source: Mapping[str, Tensor]):
        self.state_dict: dict[str, Tensor] = {}
        self.mapped: dict[str, tuple[str, ...]] = {}
        self.unused: dict[str, str] = {}
        self._left = dict(source)
        self._missing: list[str] = []

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
            self._missing.append(key)
            return
        value = self._left.pop(key)
        parts = value.split(list(sizes), 1) if sizes else [value]
        self.state_dict |= {target: part.clone() for target, part in zip(targets, parts, strict=True)}
        self.mapped[key] = tuple(targets)

    def leave(self, key: str, reason: str) -> None:
        """Use nothing of a key, which need not be there."""
        if self._left.pop(key, None) is not None:
            self.unused[key] = reason

    def finish(self) -> 'Conversion':
        """The conversion, if it is complete.

        Raises:
            ValueError: A key was missing, or one is left.
        """
        if self._missing or self._left:
            raise ValueError(f'state dict must have the published layout, but lacks {sorted(self._missing)} '
                             f'and adds {sorted(self._left)}')
        return self

    def report(self) -> str:
        """A line for each key of the source."""
        lines = [f'{key} -> {", ".join(targets)}' for key, targets in self.mapped.items()]
        return '\n'.join(lines + [f'{key} not used: {reason}' for key, reason in self.unused.items()])
