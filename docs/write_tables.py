"""Writes the figures of ``benchmarks/results/NAME.json`` into the pages: into the table below each line ``<!-- results: NAME -->``.

    python docs/write_tables.py

So a figure is changed in one place: in its JSON file, and then by this command.
"""

import re

from site_pages import DOCS, results, table

TABLE = re.compile(r'(<!-- results: (\w+) -->\n)(?:\|.*\n)*')


def with_figures(page: str) -> str:
    """The text of a page with its marked tables as the results say.

    Raises:
        KeyError: A marked table has no results.
    """
    measured = results()
    return TABLE.sub(lambda match: match[1] + table(measured[match[2]]['columns'], measured[match[2]]['rows']), page)


def main() -> None:
    for page in DOCS.glob('*.md'):
        page.write_text(with_figures(page.read_text()))


if __name__ == '__main__':
    main()
