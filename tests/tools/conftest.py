"""Makes the scripts under tools/ importable, as they are when they run."""

import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
sys.path[:0] = [str(TOOLS), *(str(TOOLS / folder) for folder in ('demo', 'env', 'model_converters', 'ops'))]
