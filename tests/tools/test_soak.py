"""A short soak trains without errors, and growth is told from noise."""

import pytest
import soak
import torch


def rows(values: list[float]) -> list[soak.Row]:
    return [soak.Row(0.0, 0, 1.0, 1.0, value, value, 0.0, 0) for value in values]


def test_growth_is_that_from_the_second_quarter_to_the_last():
    assert soak.growth(rows([1, 9, 100, 100, 100, 100, 110, 110]), 'memory_mb') == pytest.approx(1.1)
    assert soak.growth(rows([50, 50, 100, 100, 300, 300, 100, 100]), 'memory_mb') == 1


def test_training_on_changing_sizes(tmp_path):
    run = soak.Soak('cpu', False, False, 0)
    found = soak.soak(run, 1 / 60, 0.2, tmp_path / 'soak.jsonl')
    assert found and run.steps and not run.errors and len((tmp_path / 'soak.jsonl').read_text().splitlines()) == len(found)


def test_errors_are_counted_and_do_not_end_the_run(capsys):
    run = soak.Soak('cpu', False, False, 0)
    with torch.no_grad():
        run.model.classifier.bias.fill_(float('nan'))
    run.step()
    run.step()
    assert run.errors.total() == 2 and 'must be finite' in next(iter(run.errors))
    assert 'step 0 with' in capsys.readouterr().out
