"""What a user gets who installs from a built distribution; and what README says exists."""

import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

import densecl

ROOT = Path(__file__).parents[1]


def build(kind: str, source: Path, out: Path) -> Path:
    command = [sys.executable, 'setup.py', '-q', kind, '--dist-dir', str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=300)
    return next(out.iterdir())


def test_wheel_from_sdist_has_configs_tools_and_photos(tmp_path):
    sdist = build('sdist', ROOT, tmp_path / 'sdist')
    shutil.unpack_archive(sdist, tmp_path / 'unpacked')  # extractall(filter=) is missing in Python 3.11.2
    wheel = build('bdist_wheel', next((tmp_path / 'unpacked').iterdir()), tmp_path / 'wheel')
    names = set(zipfile.ZipFile(wheel).namelist())
    assert 'densecl/.mim/configs/densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py' in names
    assert 'densecl/.mim/configs/_base_/pretrain_runtime.py' in names
    assert 'densecl/.mim/tools/train.py' in names
    assert 'densecl/sample/ATTRIBUTION.md' in names
    assert 'densecl/runs/page.html' in names
    assert sum(name.startswith('densecl/sample/photos/') for name in names) == 500
    assert sum(name.startswith('densecl/sample/bccd/') for name in names) == 366
    assert f'densecl-{densecl.__version__}' in wheel.name
    assert {'LICENSE', 'NOTICE'} <= {PurePosixPath(name).name for name in names if '.dist-info/' in name}
    patterns = {row['files'] for row in runpy.run_path(str(ROOT / 'tools/check_release.py'))['bundled']()}
    files = [PurePosixPath(name).relative_to('densecl') for name in names if is_data(name)]
    found = {file: [pattern for pattern in patterns if file.match(pattern)] for file in files}
    assert {file: rows for file, rows in found.items() if len(rows) != 1} == {}, 'each has a line in NOTICE'
    assert {rows[0] for rows in found.values()} == patterns, 'each line has files'


def is_data(name):
    """A file of the wheel that is neither code, nor text about it, nor what the wheel says of itself."""
    path = PurePosixPath(name)
    return not ('.dist-info' in path.parts[0] or path.suffix in ('.py', '.sh') or path.name == 'README.md')


def test_commands_and_tools_run_by_name():
    done = subprocess.run([sys.executable, '-m', 'densecl', '--help'], capture_output=True, text=True)
    assert done.returncode == 0 and 'pretrain' in done.stdout and 'doctor' in done.stdout
    command = [sys.executable, '-m', 'densecl', 'train', '--help']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert '--pretrained' in done.stdout


def test_import_is_light():
    code = 'import sys, densecl.cli; densecl.cli.make_parser(); '
    code += 'print([m for m in ("torch", "mmdet", "cv2") if m in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


def test_paths_named_in_the_documents_exist():
    for document in [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *ROOT.glob('configs/**/README.md')]:
        text = document.read_text(encoding='utf-8')
        assert not re.search(r'[A-Z]+_PLACEHOLDER|TODO|FIXME', text), document
        for path in re.findall(r'\b((?:configs|tools|docs|benchmarks)/[\w./-]+\.\w+)', text):
            assert (ROOT / path).exists(), (document, path)


def test_every_page_is_in_the_index_of_the_documentation():
    index = (ROOT / 'docs/README.md').read_text(encoding='utf-8')
    pages = {path.name for path in (ROOT / 'docs').glob('*.md')} - {'README.md'}
    assert set(re.findall(r'\]\(([\w-]+\.md)\)', index)) == pages


def test_links_lead_to_files_and_to_headings():
    for document in [*ROOT.glob('*.md'), *ROOT.glob('docs/*.md'), *ROOT.glob('configs/**/README.md')]:
        for link in re.findall(r'\]\(([^)\s]+)\)', prose(document)):
            file, _, heading = link.partition('#')
            target = document.parent / file if file else document
            assert link.startswith('https://') or target.exists(), (document, link)
            assert not heading or heading in headings(target), (document, link)


def prose(document: Path) -> str:
    """The text without its code."""
    text = re.sub(r'```.*?```', '', document.read_text(encoding='utf-8'), flags=re.S)
    return re.sub(r'`[^`\n]*`', lambda code: code[0].replace(']', '').replace('(', ''), text)


def headings(document: Path) -> set[str]:
    """The names that GitHub gives to headings; the second of one name ends in -1."""
    seen, names = Counter(), set()
    for title in re.findall(r'^#+ (.*)$', prose(document), flags=re.M):
        title = re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', title)
        name = re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-')
        names.add(f'{name}-{seen[name]}' if seen[name] else name)
        seen[name] += 1
    return names


def test_pages_of_methods_have_the_command_of_their_small_recipe():
    for page in ROOT.glob('configs/*/README.md'):
        commands = '\n'.join(re.findall(r'```bash\n(.*?)```', page.read_text(encoding='utf-8'), flags=re.S))
        assert '_photos.py' in commands or not [*page.parent.glob('*_photos.py')], page
