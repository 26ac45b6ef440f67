"""The Python of "Get started" runs and gives the shapes that its comments name."""

import re
from pathlib import Path

import torch

PAGE = (Path(__file__).resolve().parents[2] / 'docs/get_started.md').read_text()
SHAPED = re.compile(r'^([\w.(), ]+?) +# (\[.*)$', re.MULTILINE)


def test_python_runs_and_has_the_shapes_that_are_named():
    code = '\n'.join(re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL))
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(code, names)
    regions = names['partition'].total_regions
    lines = SHAPED.findall(code)
    assert len(lines) == 5
    for expression, comment in lines:
        values = eval(expression, names)
        shapes = re.findall(r'\[[^\]]+\]', comment.split(':')[0])
        for value, shape in zip(values if isinstance(values, tuple) else [values], shapes, strict=False):
            assert str([*value.shape]) == shape.replace('R', str(regions)), expression
