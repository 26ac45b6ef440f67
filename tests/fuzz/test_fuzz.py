"""A small, fixed share of the random cases; ``make fuzz`` runs them by the thousand."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from call_target import call_target
from draws import Draws, HypothesisDraws, SeededDraws
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_target import model_target
from partition_target import partition_target
from picture_target import picture_target
from refusals import refused

Target = Callable[[Draws], int]
EXAMPLES = {partition_target: 60, call_target: 150, model_target: 25, picture_target: 25}


@pytest.mark.parametrize('target', EXAMPLES, ids=lambda target: target.__name__)
def test_random_cases(target: Target):
    @settings(max_examples=EXAMPLES[target], deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
    @given(st.data())
    def run(data):
        torch.manual_seed(0)
        target(HypothesisDraws(data))
    run()


@pytest.mark.parametrize('error, reason', [
    (RuntimeError('size must be positive'), 'RuntimeError'), (ValueError('size must be positive'), 'test_fuzz.py'),
    (TypeError('argument: INTERNAL ASSERT FAILED'), 'INTERNAL')])
def test_unclear_refusals_are_failures(error: Exception, reason: str):
    def call():
        raise error
    with pytest.raises(AssertionError, match=reason):
        refused(call)


def test_a_seed_and_a_number_make_a_case():
    first, again, other = ([SeededDraws(1, number).integer(0, 99) for _ in range(5)] for number in (7, 7, 8))
    assert first == again != other


def fuzz(*arguments: str) -> subprocess.CompletedProcess:
    script = Path(__file__).with_name('run_fuzz.py')
    return subprocess.run([sys.executable, '-W', 'ignore', script, *arguments], capture_output=True, text=True)


def test_the_script_counts_cases_and_tells_of_failures(tmp_path: Path):
    done = fuzz('--cases', '40', '--targets', 'calls', 'pictures')
    assert done.returncode == 0 and '40 cases' in done.stdout and '0 failures; memory' in done.stdout, done.stdout + done.stderr


def test_guided_cases_run(tmp_path: Path):
    pytest.importorskip('atheris', reason='make fuzz-guided installs atheris')
    script = Path(__file__).with_name('guided_fuzz.py')

    def guided(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, '-W', 'ignore', script, *arguments], cwd=tmp_path, capture_output=True, text=True)
    done = guided('calls', '-runs=20')
    assert done.returncode == 0 and 'Done 20 runs' in done.stderr, done.stderr
    assert guided('nothing').returncode and "got ['nothing']" in guided('nothing').stderr
