"""The pages that are written from other files say what those say."""

import json

import pytest
import site_pages
import write_tables


@pytest.fixture
def model() -> dict:
    return dict(Name='dht-x', Config='configs/dht/x.py', Metadata={'Parameters': 22_200_000, 'Training Data': ['ImageNet-1k']})


def test_untrained_model_is_said_to_be_so(model):
    *_, results, weights = site_pages.model_row(model)
    assert results == weights == 'not trained here'


def test_trained_model_shows_figures_and_weights(model):
    model |= dict(Weights='https://example.org/x.pth', Results=[dict(Dataset='ImageNet-1k', Metrics={'Top 1 Accuracy': 81.5})])
    *_, results, weights = site_pages.model_row(model)
    assert results == 'Top 1 Accuracy 81.5' and weights == '[download](https://example.org/x.pth)'


def test_model_zoo_lists_every_model():
    page = site_pages.model_zoo()
    names = [name for path in (site_pages.ROOT / 'configs/dht').glob('*/metafile.yml')
             for name in site_pages.yaml.safe_load(path.read_text())['Models']]
    assert names and all(f'`{model["Name"]}`' in page for model in names)


def test_links_to_copied_files_lead_to_the_copies():
    docs = site_pages.DOCS
    text = 'a [b](../configs/dht/retrofit) [c](../configs/README.md) [d](ops.md#speed) [e](https://example.org/x.md)'
    assert site_pages.relink(text, docs, docs) == (
        'a [b](_generated/recipes/retrofit.md) [c](_generated/recipes/index.md) [d](ops.md#speed) [e](https://example.org/x.md)')


def test_tables_of_the_pages_are_those_of_the_results():
    for page in site_pages.DOCS.glob('*.md'):
        assert write_tables.with_figures(page.read_text()) == page.read_text(), 'run python docs/write_tables.py'


def test_every_result_is_shown_in_its_page_and_among_the_benchmarks():
    overview = site_pages.benchmarks()
    for name, result in site_pages.results().items():
        assert f'<!-- results: {name} -->' in (site_pages.ROOT / result['page']).read_text()
        assert result['command'] in overview and all(len(row) == len(result['columns']) for row in result['rows'])


def test_changed_figure_reaches_its_table(tmp_path, monkeypatch):
    (tmp_path / 'x.json').write_text(json.dumps(dict(columns=['', 'ms'], rows=[['224', '3']])))
    monkeypatch.setattr(site_pages, 'RESULTS', tmp_path)
    page = 'before\n<!-- results: x -->\n| | ms |\n|---|---|\n| 224 | 9 |\n\nafter'
    assert write_tables.with_figures(page) == 'before\n<!-- results: x -->\n| | ms |\n|---|---|\n| 224 | 3 |\n\nafter'


def test_runs_of_several_seeds_are_shown_by_mean_and_spread(tmp_path, monkeypatch):
    runs = {'plain': [[60.0, 70.0], [62.0, 71.0], [64.0, 72.0]], 'ours': [[75.04, 76.0]]}
    (tmp_path / 'x.json').write_text(json.dumps(dict(columns=['', 'seeds', 'top 1', 'k-NN'], runs=runs)))
    monkeypatch.setattr(site_pages, 'RESULTS', tmp_path)
    assert site_pages.results()['x']['rows'] == [['plain', '3', '62.0 ± 2.0', '71.0 ± 1.0'], ['ours', '1', '75.0', '76.0']]
