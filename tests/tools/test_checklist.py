"""The release checklist finds what is missing, in a small checkout."""

import subprocess
from pathlib import Path

import checklist
import pytest


def run_git(root: Path, *arguments: str) -> None:
    identity = ('-c', 'user.name=Somebody', '-c', 'user.email=somebody@example.org')
    subprocess.run(['git', '-C', root, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path) -> Path:
    """One that is ready for 1.2.0."""
    (tmp_path / 'dht_mm').mkdir()
    (tmp_path / 'dht_mm/version.py').write_text("__version__ = '1.2.0'\n")
    (tmp_path / 'CHANGELOG.md').write_text('# Changelog\n\n## 1.2.0 (2027-01-31)\n')
    (tmp_path / 'README.md').write_text('Version 1.2.0, tested.\n')
    run_git(tmp_path, 'init')
    run_git(tmp_path, 'add', '.')
    run_git(tmp_path, 'commit', '-m', 'All')
    return tmp_path


def test_nothing_is_missing(checkout):
    assert [*checklist.missing(checkout)] == []


@pytest.mark.parametrize('version', ['1.2', '1.2.0.dev1', 'v1.2.0', '01.2.0'])
def test_other_kinds_of_versions_are_found(checkout, version):
    (checkout / 'dht_mm/version.py').write_text(f"__version__ = '{version}'\n")
    assert any('is no version like' in line for line in checklist.missing(checkout))


@pytest.mark.parametrize('file, text, what', [
    ('CHANGELOG.md', '## Unreleased (1.2.0)\n', 'CHANGELOG.md has no heading'),
    ('README.md', 'Version 1.1.0,', 'README.md does not speak')])
def test_files_that_do_not_name_the_version_are_found(checkout, file, text, what):
    (checkout / file).write_text(text)
    run_git(checkout, 'commit', '-am', 'Change')
    line, = checklist.missing(checkout)
    assert line.startswith(what)


def test_existing_tag_is_found(checkout):
    run_git(checkout, 'tag', 'v1.2.0')
    assert [*checklist.missing(checkout)] == ['the tag v1.2.0 exists: set a new version in dht_mm/version.py']


def test_uncommitted_changes_are_found(checkout):
    (checkout / 'new.py').touch()
    assert [*checklist.missing(checkout)] == ['the checkout has changes that are not committed:\n?? new.py']
