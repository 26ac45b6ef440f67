"""Names of what is compared."""

import re
from typing import NamedTuple

PARTITIONS = ('plain', 'grid', 'hard', 'spread', 'soft')
CONTENTS = ('window', 'box', 'cells')
EXTRAS = ('mask', 'stats', 'fine')
DECODES = ('bilinear', 'paint', 'mix', 'sub', 'pixel', 'blend')
FORM = 'PARTITION[NUMBER][:CONTENT[NUMBER][+EXTRA...][:DECODE[NUMBER][+DECODE...][:e2e]]]'


class Variant(NamedTuple):
    """One way to segment. Numbers that a name leaves out are None.

    Attributes:
        name: As it was given.
        partition: What makes the tokens' regions: ``plain`` patches without a partition; ``grid``, the same patches as a partition;
            ``hard``, dHT with a hard budget; ``soft``, with the paper's budget; ``spread``, with the hard budget of even sizes
            (NUMBER: how even).
        content: What a token sees: ``window`` of a patch's size, ``box`` (NUMBER: share of other regions' pixels), ``cells``, the
            mean of the patches that the region covers.
        extras: What is added to it, from zero: ``mask``, the region's form in the window; ``stats``, of its pixels; ``fine``, the
            window at twice the resolution.
        decodes: Token to pixels, see :mod:`decoding`.
        numbers: The numbers of partition, content and decodes by name.
        end_to_end: Whether the tokenizer is trained.
    """

    name: str
    partition: str
    content: str
    extras: tuple[str, ...]
    decodes: tuple[str, ...]
    numbers: dict[str, float]
    end_to_end: bool


def parse_variant(name: str) -> Variant:
    """The variant of a name such as ``plain``, ``grid:window:paint`` or ``spread0.25:window+mask:sub4+mix+pixel:e2e``.

    Raises:
        ValueError: The name has another form.
    """
    defaults = ['', 'window', 'bilinear' if name == 'plain' else 'paint', '']
    parts = name.split(':')
    fields = [[_parted(word) for word in part.split('+')] for part in (*parts, *defaults[len(parts):])]
    (partition,), (content, *extras), decodes, ((end, _),) = [*fields[:1], *fields[1:3], fields[3]]
    words = ((partition,), PARTITIONS), ((content,), CONTENTS), (extras, EXTRAS), (decodes, DECODES), (((end, None),), ('', 'e2e'))
    wrong = [word for given, known in words for word, _ in given if word not in known]
    if wrong or len(parts) > 4 or (partition[0] == 'plain') != (decodes[0][0] == 'bilinear' and len(parts) == 1):
        raise ValueError(f'variant must be {FORM} with {PARTITIONS}, {CONTENTS}, {EXTRAS} and {DECODES}, got {name!r} ({wrong})')
    numbers = {word: number for word, number in (partition, content, *decodes) if number is not None}
    return Variant(name, partition[0], content[0], tuple(word for word, _ in extras), tuple(word for word, _ in decodes), numbers,
                   end == 'e2e')


def _parted(word: str) -> tuple[str, float | None]:
    text, number = re.fullmatch(r'(e2e|[a-z]*)([0-9.]*)', word).groups() if re.fullmatch(r'(e2e|[a-z]*)([0-9.]*)', word) else (word, '')
    return text, float(number) if number else None
