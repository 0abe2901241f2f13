"""The table of docs/methods.md is what the configs say, and holds every method."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / 'docs/methods.md'
#: Folders of configs/ that are no method of pretraining by views.
OTHERS = {'_base_', 'detection', 'pixel_contrast', 'quickstart', 'segmentation', 'variants'}


def check(root: Path) -> subprocess.CompletedProcess:
    """The tool of a copy of the project."""
    command = [sys.executable, root / 'tools/method_table.py', '--check']
    return subprocess.run(command, capture_output=True, text=True)


def rows() -> list[list[str]]:
    """The cells of each row of the table."""
    lines = PAGE.read_text().split('|---|---|---|---|---|---|\n')[1].split('\n<!--')[0].splitlines()
    return [[cell.strip() for cell in line.strip('|').split(' | ')] for line in lines]


def test_the_page_is_up_to_date():
    done = check(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stale_page_is_seen(tmp_path):
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    (tmp_path / 'tools').mkdir()  # the tool finds the project by its own place
    shutil.copy(ROOT / 'tools/method_table.py', tmp_path / 'tools')
    (tmp_path / 'docs').mkdir()
    page = tmp_path / 'docs/methods.md'
    page.write_text(PAGE.read_text().replace('MostSimilar |', 'SameRow |', 1))
    done = check(tmp_path)
    assert done.returncode == 1 and 'run python tools/method_table.py' in done.stdout
    assert 'MostSimilar |' not in page.read_text()


def test_every_method_is_in_the_table():
    linked = set(re.findall(r'\(\.\./configs/(\w+)/README\.md\)', PAGE.read_text()))
    folders = {path.name for path in (ROOT / 'configs').iterdir() if path.is_dir()}
    assert linked.isdisjoint(OTHERS)
    assert linked | OTHERS == folders
    assert len(rows()) > len(linked) and all(len(row) == 6 for row in rows())


def test_every_name_is_in_the_glossary():
    named = {name for row in rows() for cell in row[3:] for name in re.findall(r'\b([A-Z]\w+)', cell)}
    glossary = PAGE.read_text().split('## Glossary')[1]
    assert {'Cells', 'SameId', 'InfoNCE'} < named
    named -= {'True', 'False'}
    assert {name for name in named if f'`{name}`' not in glossary} == set()
