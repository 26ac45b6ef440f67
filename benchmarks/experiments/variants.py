"""Names of what is compared."""

import re
from typing import NamedTuple

PARTITIONS = ('plain', 'grid', 'hard', 'exact', 'spread', 'soft')
CONTENTS = ('window', 'zoom', 'fit', 'box', 'cells')
EXTRAS = ('mask', 'stats', 'fine', 'whole', 'gradient')
DECODES = ('paint', 'mix', 'sub', 'pixel', 'texture', 'relative', 'hidden', 'deep', 'bilinear', 'blend', 'upernet')
FORM = 'PARTITION[NUMBER][:CONTENT[NUMBER][+EXTRA...]][:DECODE[NUMBER][+DECODE...]][:e2e]'


class Variant(NamedTuple):
    """One way to make and to read tokens. Numbers that a name leaves out are not among the numbers.

    Attributes:
        partition: What makes the tokens' regions: ``plain`` patches without a partition; ``grid``, the same patches as a partition;
            ``soft``, dHT with the paper's budget; ``hard`` and ``exact``, with these (NUMBER: how even sizes are); ``spread``, with the
            hard budget of even sizes.
        content: What a token sees: ``window`` of a patch's size; ``zoom``, one of half or twice the side where the region is small or
            large; ``fit``, one of about the size of the region's box; ``box`` (NUMBER: share of other regions' pixels); ``cells``, the
            mean of the patches that the region covers.
        extras: What is added to it: ``mask``, the region's form in the window; ``stats`` of its pixels; ``fine``, the window at twice
            the resolution; ``whole``, the mean of the patches that the region covers; ``gradient``, the paper's gradient features.
        decodes: From tokens to pixels, in segmentation; ``deep`` and ``upernet`` read the tokens of four blocks.
        numbers: The numbers of partition, content and decodes by name.
        end_to_end: Whether the tokenizer is trained.
    """

    partition: str
    content: str
    extras: tuple[str, ...]
    decodes: tuple[str, ...]
    numbers: dict[str, float]
    end_to_end: bool


def parse_variant(name: str) -> Variant:
    """The variant of a name such as ``plain``, ``grid:window:paint``, ``hard:box+gradient:e2e`` or ``spread0.1:window:sub4+mix:e2e``.

    Raises:
        ValueError: The name has another form.
    """
    parts = name.split(':')
    end_to_end = parts[-1] == 'e2e'
    parts = parts[:-1] if end_to_end else parts
    words = [[_parted(word) for word in part.split('+')] for part in (*parts, *('', 'window', 'paint')[len(parts):])]
    (partition, *more), (content, *extras), decodes = words[:3]
    known = [([partition], PARTITIONS), ([content], CONTENTS), (extras, EXTRAS), (decodes, DECODES)]
    unknown = [word for group, names in known for word, _ in group if word not in names]
    if unknown or more or len(parts) > 3 or (partition[0] == 'plain' and name != 'plain'):
        raise ValueError(f'variant must be plain or {FORM} with {PARTITIONS}, {CONTENTS}, {EXTRAS} and {DECODES}, got {name!r}')
    numbers = {word: float(number) for word, number in (partition, content, *decodes) if number}
    return Variant(partition[0], content[0], tuple(word for word, _ in extras), tuple(word for word, _ in decodes), numbers, end_to_end)


def _parted(word: str) -> tuple[str, str]:
    """A word and the number at its end."""
    return re.fullmatch(r'(.*?)([0-9.]*)', word).groups()
