"""Predictions of large images need less memory than the map of logits that they do not make."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('mmseg')
pytestmark = pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='needs the memory figures of Linux')
SCRIPT = Path(__file__).resolve().parents[2] / 'benchmarks/segmentors/large_images.py'


@pytest.mark.parametrize('mode', [['--mode', 'whole'], ['--mode', 'slide', '--crop', '128']], ids=['whole', 'slide'])
def test_classes_alone_need_no_map_of_logits(mode: list[str]):
    command = [sys.executable, '-W', 'ignore', SCRIPT, '--size', '512', '512', '--classes', '800', '--no-logits', *mode]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    peak, logits = map(float, re.search(r', ([\d.]+) GiB; a map of logits is ([\d.]+) GiB', result.stdout).groups())
    assert 0 < peak < 0.9 * logits
