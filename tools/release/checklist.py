"""Names what is missing for a release of this checkout; changes nothing.

    python tools/release/checklist.py

The exit code is 1 if something is missing. What no program can see is printed last.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEMANTIC = re.compile(r'(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)((a|b|rc)(0|[1-9]\d*))?')
BY_HAND = (
    'make lint, make test, make test-upstream and make docs pass in a fresh clone, and tests with a GPU on a machine that has one',
    'figures in benchmarks/results are of this version, or their setting names the older one',
    'make release, then try a wheel in an environment of your own',
    'git tag -a vVERSION, push it, upload dist/*, and set the next version in dht_mm/version.py',
)


def git(root: Path, *arguments: str) -> str:
    """What git prints."""
    return subprocess.run(['git', '-C', root, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def version_of(root: Path) -> str:
    """The version of a checkout."""
    return re.search(r"__version__ = '([^']+)'", (root / 'dht_mm/version.py').read_text()).group(1)


def missing(root: Path) -> Iterator[str]:
    """What is missing in a checkout."""
    version = version_of(root)
    if not SEMANTIC.fullmatch(version):
        yield f'{version} in dht_mm/version.py is no version like 1.2.3 or 1.2.3rc1'
    if not re.search(rf'^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$', (root / 'CHANGELOG.md').read_text(), re.MULTILINE):
        yield f'CHANGELOG.md has no heading "## {version} (YYYY-MM-DD)"'
    if f'Version {version},' not in (root / 'README.md').read_text():
        yield f'README.md does not speak of "Version {version},"'
    if f'v{version}' in git(root, 'tag').split():
        yield f'the tag v{version} exists: set a new version in dht_mm/version.py'
    if changes := git(root, 'status', '--porcelain'):
        yield f'the checkout has changes that are not committed:\n{changes}'


def main() -> int:
    """Prints the list; the exit code."""
    found = [*missing(ROOT)]
    print(f'Release of dht_mm {version_of(ROOT)}')
    print('\n'.join(f'  missing: {line}' for line in found) or '  nothing is missing that a program can see')
    print('\n'.join(f'  by hand: {line}' for line in BY_HAND))
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
