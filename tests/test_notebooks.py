"""Every notebook runs from top to bottom, and holds what it showed when it was run last."""

import os
import re
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip('nbformat', reason='needs nbformat')
nbclient = pytest.importorskip('nbclient', reason='needs nbclient')
pytest.importorskip('ipykernel', reason='needs ipykernel')
pytest.importorskip('skimage', reason='its pictures come with scikit-image')

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / 'docs/notebooks').glob('*.ipynb'))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request) -> nbformat.NotebookNode:
    notebook = nbformat.read(request.param, as_version=4)
    nbformat.validate(notebook)
    return notebook


def shown(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """Kinds of output of each cell of code."""
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == 'code']
    return [sorted({kind for output in cell for kind in output.get('data', {output.output_type: ''})} - {'image/jpeg'}) for cell in outputs]


def test_it_runs_and_shows_what_it_holds(notebook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(filter(None, sys.path)))  # also where the package is not installed
    monkeypatch.setenv('PYTHONWARNINGS', 'ignore')
    before = shown(notebook)
    assert sum('image/png' in kinds for kinds in before) >= 5 and any('image/svg+xml' in kinds for kinds in before)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name='python3', resources=dict(metadata=dict(path=tmp_path))).execute()
    assert shown(notebook) == before
    assert not list(tmp_path.iterdir()), 'it leaves no file'


def test_it_names_no_folder_of_a_machine(notebook):
    assert not re.search(r'(?<![\w./])/(home|root|tmp|work|Users)/', nbformat.writes(notebook))
