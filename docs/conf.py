"""Settings of the documentation site: ``make docs``, or ``sphinx-build -W docs build/docs``. Nothing is fetched from a network."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import site_pages  # noqa: E402

import dht_mm  # noqa: E402

project = 'dht_mm'
author = 'The dht_mm contributors'
copyright = author
version = release = dht_mm.__version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['notebooks']
html_theme = 'furo'
html_title = f'dht_mm {release}'
html_copy_source = False

myst_heading_anchors = 3

autodoc_typehints = 'signature'
autodoc_typehints_format = 'short'
autodoc_member_order = 'bysource'
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True


def relink(app, name: str, source: list[str]) -> None:
    """Lets links of a page to the repository's READMEs, which GitHub follows, lead to their copies on the site."""
    folder = (HERE / name).parent
    if not name.startswith(site_pages.GENERATED):
        source[0] = site_pages.relink(source[0], folder, folder)


def skip_field_aliases(app, what: str, name: str, item: object, skip: bool, options: object) -> bool | None:
    """Leaves out the fields of named tuples, which their class describes."""
    return True if (getattr(item, '__doc__', None) or '').startswith('Alias for field number') else None


def setup(app) -> None:
    """Writes the generated pages before Sphinx looks for pages."""
    site_pages.write_all()
    app.connect('source-read', relink)
    app.connect('autodoc-skip-member', skip_field_aliases)
