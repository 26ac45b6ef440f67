"""Writes the pages of the site that follow from other files: API, model zoo, recipes, benchmarks and what lies in the root folder.

They go to ``docs/_generated``, which is not part of the repository; a page there is never edited.
"""

import json
import os
import re
from pathlib import Path
from statistics import mean, stdev

import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
GENERATED = '_generated'
RESULTS = ROOT / 'benchmarks/results'
LINK = re.compile(r'(?<=\]\()(?!https?:|#)([^)#\s]+)')
UNTRAINED = 'not trained here'


def copied_pages() -> dict[Path, Path]:
    """Files of the repository that are pages of the site as they are, and the copies' places."""
    folder = DOCS / GENERATED
    pages = {ROOT / 'configs/README.md': folder / 'recipes/index.md'}
    pages |= {readme: folder / f'recipes/{readme.parent.name}.md' for readme in sorted((ROOT / 'configs/dht').glob('*/README.md'))}
    return pages | {ROOT / f'{name}.md': folder / f'{name.lower()}.md' for name in ('CHANGELOG', 'CONTRIBUTING', 'SECURITY')}


def relink(text: str, source: Path, page: Path) -> str:
    """Relative links of a text made in the folder ``source`` for a page in the folder ``page``; those to copied files go to the copy."""
    copies = copied_pages()

    def target(match: re.Match) -> str:
        path = (source / match[1]).resolve()
        readme = path / 'README.md' if path.is_dir() else path
        return Path(os.path.relpath(copies.get(readme, readme), page)).as_posix()

    return LINK.sub(target, text)


def write(path: Path, text: str) -> None:
    """Writes a page if it has changed, so that Sphinx reads it again only then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def toctree(*entries: str) -> str:
    """A hidden table of contents."""
    return '\n'.join(['```{toctree}', ':hidden:', *entries, '```', ''])


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = ['|' + '|'.join(f' {cell} ' if cell else ' ' for cell in line) + '|' for line in (columns, *rows)]
    lines.insert(1, '|' + '---|' * len(columns))
    return '\n'.join(lines) + '\n'


def rooms() -> list[str]:
    """The rooms of the package, alphabetically."""
    return sorted(path.parent.name for path in (ROOT / 'dht_mm').glob('*/__init__.py'))


def api_page(room: str) -> str:
    """Everything public of a room, from its docstrings."""
    return f'# `dht_mm.{room}`\n\n```{{eval-rst}}\n.. automodule:: dht_mm.{room}\n   :members:\n   :imported-members:\n' \
           '   :show-inheritance:\n```\n'


def api_index() -> str:
    """The list of rooms."""
    links = '\n'.join(f'- [`dht_mm.{room}`]({room}.md)' for room in rooms())
    return f'# API\n\nThe public names of every room, with shapes and errors.\n\n{links}\n\n' + toctree(*rooms())


def model_row(model: dict) -> list[str]:
    """A line of the model zoo."""
    metadata, page = model['Metadata'], DOCS / GENERATED
    config = os.path.relpath(ROOT / model['Config'], page)
    source = model.get('Converted From', {}).get('Weights', '')
    results = [f'{name} {value}' for result in model.get('Results') or () for name, value in result['Metrics'].items()]
    weights = f'[download]({model["Weights"]})' if model.get('Weights') else UNTRAINED
    count = metadata['Parameters']
    return [f'[`{model["Name"]}`]({config})', f'{count / 1e6:.2f} M' if count > 1e5 else f'{count:,}', ', '.join(metadata['Training Data']),
            f'[source]({source})' if source else '', ', '.join(results) or UNTRAINED, weights]


def model_zoo() -> str:
    """All models of the metafiles, a table for each collection."""
    parts = ['# Model zoo', f'The models that `model-index.yml` lists. "{UNTRAINED}" means what it says: there is a config, and neither '
             'weights nor a figure of this project. The paper\'s own figures are not repeated as if they were ours.']
    for name in yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']:
        metafile = yaml.safe_load((ROOT / name).read_text())
        readme = os.path.relpath(copied_pages()[(ROOT / name).parent / 'README.md'], DOCS / GENERATED)
        rows = [model_row(model) for model in metafile['Models']]
        parts += [f'## [{metafile["Collections"][0]["Name"]}]({readme})',
                  table(['config', 'parameters', 'data', 'starts from', 'results', 'weights'], rows)]
    return '\n\n'.join(parts)


def results() -> dict[str, dict]:
    """The measurements in ``benchmarks/results`` by name, all with rows."""
    return {path.stem: with_rows(json.loads(path.read_text())) for path in sorted(RESULTS.glob('*.json'))}


def with_rows(result: dict) -> dict:
    """A measurement whose ``runs`` are lists of figures, one a seed, by the name of what was run: its rows are their means and spreads."""
    if 'runs' not in result:
        return result
    rows = [[name, str(len(seeds)), *map(spread, zip(*seeds, strict=True))] for name, seeds in result['runs'].items()]
    return result | dict(rows=rows)


def spread(values: tuple[float, ...]) -> str:
    """The mean of a figure over the seeds, with its standard deviation where there are several."""
    return f'{mean(values):.1f}' + (f' ± {stdev(values):.1f}' if len(values) > 1 else '')


def benchmarks() -> str:
    """All measurements on one page."""
    parts = ['# Benchmarks', 'What was measured, on which machine and by which command; the linked pages discuss it. '
             'The figures lie in `benchmarks/results`.']
    for result in results().values():
        page = os.path.relpath(ROOT / result['page'], DOCS / GENERATED)
        parts += [f'## {result["title"]}', f'{result["setting"]} [Discussed here]({page}).', f'```\n{result["command"]}\n```',
                  table(result['columns'], result['rows'])]
    return '\n\n'.join(parts)


def write_all() -> None:
    """Writes every generated page and removes those of files that are gone."""
    folder = DOCS / GENERATED
    pages = {folder / 'api/index.md': api_index(), folder / 'model_zoo.md': model_zoo(), folder / 'benchmarks.md': benchmarks()}
    pages |= {folder / f'api/{room}.md': api_page(room) for room in rooms()}
    for source, page in copied_pages().items():
        pages[page] = relink(source.read_text(), source.parent, page.parent)
    recipes = [page.stem for page in copied_pages().values() if page.parent.name == 'recipes' and page.stem != 'index']
    pages[folder / 'recipes/index.md'] += '\n' + toctree(*recipes)
    for page, text in pages.items():
        write(page, text)
    for page in set(folder.rglob('*.md')) - set(pages):
        page.unlink()
