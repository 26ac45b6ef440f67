"""The files of ``benchmarks/results``, from which the pages take their figures."""

import json
from pathlib import Path


def update_result(path: Path, columns: list[str], **figures: list | dict) -> None:
    """Replace columns and figures of a file of results; title, page, setting and command stay.

    Args:
        path: The file.
        columns: Titles of the table's columns.
        **figures: ``rows``, a list of lists of cells, or ``runs``, a list of figures for each seed by the name of what was run.
    """
    kept = {key: value for key, value in json.loads(path.read_text()).items() if key not in ('columns', 'rows', 'runs')}
    lines = [f'  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)},' for key, value in (kept | dict(columns=columns)).items()]
    (name, content), = figures.items()
    if isinstance(content, dict):
        each = [f'    {json.dumps(key)}: {json.dumps(value)}' for key, value in content.items()]
    else:
        each = [f'    {json.dumps(row, ensure_ascii=False)}' for row in content]
    brackets = '{}' if isinstance(content, dict) else '[]'
    path.write_text('\n'.join(['{', *lines, f'  "{name}": {brackets[0]}', ',\n'.join(each), f'  {brackets[1]}', '}']) + '\n')
