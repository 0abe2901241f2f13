"""The page of runs holds their figures, escapes what it shows, and needs no other file."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from densecl.cli import main
from densecl.runs import page as page_module
from densecl.runs.folder import RunFolder
from densecl.runs.page import follow, write_csv, write_page

HOSTILE = '<script>alert(1)</script>'
VOID = {'meta', 'img', 'br', 'link', 'input', 'hr'}


class Parsed(HTMLParser):
    """Tags with their attributes, text, rows of tables; every tag that is opened must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.text, self.rows, self.open = [], '', [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]
        self.rows += [[]] if tag == 'tr' else []
        if tag in ('td', 'th'):
            self.rows[-1].append('')

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ('td', 'th'):
            self.rows[-1][-1] += data.strip()

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def make_run(folder, told='use end (best_dense.pth): fine', lr=0.1):
    """A folder as a run leaves it: resumed once, one line cut off, NaN and inf in it."""
    logs = folder / 'one', folder / 'two'
    for log in logs:
        (log / 'vis_data').mkdir(parents=True)
    (folder / 'config.py').write_text(f'x = "{HOSTILE}"\n')
    settings = [
        dict(name='method', value='pixpro', reason='few & large'),
        dict(name='lr', value=lr, reason='as you asked'),
        dict(name='batch', value=1024, reason='a GPU'),
    ]
    (folder / 'settings.json').write_text(json.dumps(settings))
    photos = {'count': 1234, 'bytes': 5_000_000, 'sha256': 'abc', 'hashed': 'names and sizes'}
    start = dict(name='imagenet', origin='a package', licence='Apache-2.0', sha256='def')
    manifest = dict(
        photos=photos, start=start, versions=dict(torch='2.14.1'), command=['d', 'pretrain', 'my']
    )
    (folder / 'manifest.json').write_text(json.dumps(manifest))
    lines = [dict(loss=5.0, iter=1, lr=lr, images_per_s=20.0, data_wait=0.25), dict(loss=4.0, iter=2)]
    lines += [dict(loss=float('nan'), iter=3, lr=lr / 2, grad_norm=1e308), dict(loss=99.0, iter=4)]
    (logs[0] / 'vis_data/scalars.json').write_text('\n'.join(map(json.dumps, lines)))
    lines = [dict(loss=3.0, iter=4, dense_rank=80.5), dict(loss=float('inf'), iter=5, grad_norm=-1e308)]
    cut = '{"loss": 2.0, "it'
    (logs[1] / 'vis_data/scalars.json').write_text('\n'.join([*map(json.dumps, lines), cut]))
    warning = '2026/01/01 00:00:00 - mmengine - WARNING - rank {} is low <b>\n'
    (logs[1] / 'a.log').write_text(warning.format(3) + warning.format(2) + ' - WARNING - deprecated\n')
    first, last = (dict(dse=dict(value=value, spread=0.5)) for value in (1.0, 0.25))
    rows = [
        dict(name='start', verdict='same', miou={'linear': 38.0}, signals=first),
        dict(name='end', verdict='better', miou={'linear': 41.5}, signals=last, fallen=['dse']),
    ]
    guard = dict(verdict='better', sentence='mIoU 41.5', measurements=rows, averages=[], photos=64)
    guard |= dict(told=told, chosen='end') if told else {}
    (folder / 'guard.json').write_text(json.dumps(guard))
    return folder


def parse(folder, *more, **options) -> Parsed:
    return Parsed(write_page([folder, *more], **options).read_text(encoding='utf-8'))


def test_page_says_what_was_trained_on_what_and_how_it_went(tmp_path):
    found = parse(make_run(tmp_path / 'a'))
    for row in (
        ['method', 'pixpro', 'few & large'], ['lr', '0.1', 'as you asked'], ['batch', '1,024', 'a GPU'],
        ['photos', '1,234'], ['size (MB)', '5.0'], ['sha256 of the list of photos', 'abc'],
        ['licence of the start', 'Apache-2.0'], ['torch', '2.14.1'],
        ['command', 'densecl pretrain my'], ['start', 'same', '38.00', '1.000'],
        ['end · chosen', 'better', '41.50', '↓ 0.250'],
    ):  # fmt: skip
        assert row in found.rows, row
    assert '5 → 3' in found.text and '2 values are NaN or infinite and leave gaps' in found.text
    assert 'rank 2 is low <b>' in found.text and '2 times' in found.text and 'deprecated' not in found.text
    assert '25% of the time waits for data' in found.text
    assert 'Export it' in found.text and f'densecl export {tmp_path / "a"} --to mmdet' in found.text


def test_nothing_is_run_and_nothing_is_fetched(tmp_path):
    folder = make_run(tmp_path / '"><img src=x>')
    (folder / 'pictures').mkdir()
    name = '"><svg onload=1>.png'
    Image.new('RGB', (8, 4)).save(folder / 'pictures' / name)
    (folder / 'pictures/captions.json').write_text(json.dumps({name: HOSTILE}))
    found = parse(folder)
    assert HOSTILE in found.text and not found.all('script')
    (image,) = found.all('img')
    assert image['src'].startswith('data:image/png;base64,') and image['alt'] == HOSTILE
    assert not [a for _, a in found.tags if any(name.startswith('on') for name in a)]
    assert all(a['href'].startswith('#') for a in found.all('a')) and not found.all('link')


def test_pictures_have_their_captions_and_fit_in(tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, 'BUDGET', 60_000)
    folder = make_run(tmp_path / 'a')
    (folder / 'pictures').mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (600, 900, 3), np.uint8)
    for name in ('large.png', 'b.webp', 'c.jpg'):
        Image.fromarray(noise if name == 'large.png' else noise[:20, :20]).save(folder / 'pictures' / name)
    (folder / 'pictures/broken.png').write_bytes(b'no image')
    (folder / 'pictures/captions.json').write_text('{"large.png": "PCA of the last level"}')
    page = write_page([folder])
    found = Parsed(page.read_text(encoding='utf-8'))
    kinds = {image['alt']: image['src'].split(';')[0] for image in found.all('img')}
    assert kinds == {
        'PCA of the last level': 'data:image/webp', 'b.webp': 'data:image/webp', 'c.jpg': 'data:image/jpeg'
    }  # fmt: skip
    assert int(next(i for i in found.all('img') if 'PCA' in i['alt'])['width']) < 900
    assert 'broken.png' in found.text and page.stat().st_size < 60_000 * 4 / 3 + 60_000


def test_runs_side_by_side(tmp_path):
    one, two = make_run(tmp_path / 'x/a'), make_run(tmp_path / 'y/a', lr=0.2)
    for folder, mean in ((one, 40.0), (two, 45.5)):
        (folder / 'probe.json').write_text(json.dumps(dict(linear=dict(mean=mean, per_class=[1, 2]))))
    (two / 'probe_start.json').write_text(json.dumps(dict(linear=dict(mean=41.0), classes=['sky', 'road'])))
    found = parse(one, two, out=tmp_path / 'both.html')
    assert ['lr', '0.1', '0.2'] in found.rows and ['batch', '1,024', '1,024'] not in found.rows
    assert 'The same in all runs: 2.' in found.text
    assert ['probe: linear, mIoU (%)', '40.0', '45.5'] in found.rows
    assert ['probe: linear, gain over the start (points)', '–', '+4.5'] in found.rows
    assert 'x/a' in found.text and 'y/a' in found.text
    styles = [(p['style'], p.get('stroke-dasharray')) for p in found.all('path') if p.get('class') == 'curve']
    assert {style for style, _ in styles} == {'stroke:var(--c0)', 'stroke:var(--c1)'}
    assert all((dash is None) == ('c0' in style) for style, dash in styles)


def test_pilot_and_fine_tuning(tmp_path):
    folder = make_run(tmp_path / 'continued')
    (folder / 'metrics.json').write_text('{"box AP": 39.04}')
    values = {'random': (1, 2, 3), 'start': (40, 42, 41), 'continued': (42, 44, 43)}
    figures = [
        dict(arm=arm, kind='linear', seed=seed, value=value)
        for arm, own in values.items()
        for seed, value in enumerate(own)
    ]
    (tmp_path / 'pilot.json').write_text(json.dumps(dict(facts={}, figures=figures)))
    found = parse(tmp_path)
    assert 'go: continuing raises linear +2.00' in found.text
    assert ['fine-tuned: box AP (%)', '39.0'] in found.rows
    assert (folder / 'report.html').is_file()


@pytest.mark.parametrize('name', ['settings.json', 'manifest.json', 'guard.json'])
def test_cut_off_files_give_a_page(tmp_path, name):
    folder = make_run(tmp_path / 'a')
    text = (folder / name).read_text()
    (folder / name).write_text(text[: len(text) // 2])
    assert '5 → 3' in parse(folder).text
    (folder / name).write_text('[1, 2]')
    assert '5 → 3' in parse(folder).text


def test_run_of_the_training_tool_has_a_page(tmp_path):
    folder = make_run(tmp_path / 'a')
    for name in ('config.py', 'settings.json', 'manifest.json', 'guard.json'):
        (folder / name).unlink()
    text = "model = dict(type='Pretrainer', backbone=dict(type='ResNet'), heads=dict(dense=dict()))\n"
    text += 'train_dataloader = dict(batch_size=32)\nname = [undefined, 1]\n'
    (folder / 'two/vis_data/config.py').write_text(text)
    found = parse(folder)
    assert ['batch', '32', 'stands in the config'] in found.rows and ['method', 'dense'] in found.rows
    assert 'is not recorded' in found.text and 'There are no pictures' in found.text


def test_settings_of_a_fine_tuning_come_from_its_config(tmp_path):
    rows = 'lr  0.001  AdamW, for the\n    new layers\ntask  detection  boxes\n'
    table = f'"""Faster R-CNN, on a.json.\n\n{rows}"""\n'
    (tmp_path / 'config.py').write_text(table)
    found = parse(tmp_path)
    assert ['lr', '0.001', 'AdamW, for the new layers'] in found.rows
    assert 'Nothing has been logged yet' in found.text


def test_what_to_do_next(tmp_path):
    def advice(folder, **guard):
        path = folder / 'guard.json'
        path.write_text(json.dumps(json.loads(path.read_text()) | guard))
        return parse(folder).text

    folder = make_run(tmp_path / 'a')
    assert 'Stay with your start' in advice(folder, chosen='start', verdict='refuse')
    assert 'Lower the learning rate' in advice(folder, chosen='iteration 4', verdict='refuse')
    assert 'Wait' in advice(folder, told='', verdict='same')
    assert 'Stop, and lower the rate' in advice(folder, told='', verdict='refuse')
    config = folder / 'two/vis_data/config.py'
    config.write_text("train_dataloader = dict(dataset=dict(data_root=['my photos', 'more']))")
    for path in folder.rglob('*'):
        os.utime(path, (1e9, 1e9))
    assert f"densecl pretrain 'my photos' more --out {folder} --resume" in parse(folder).text
    config.unlink()
    assert f'densecl pretrain PHOTOS --out {folder} --resume' in parse(folder).text
    assert RunFolder(folder).state == 'stopped'


def test_live_page_reads_itself_again_until_the_run_ends(tmp_path):
    folder = make_run(tmp_path / 'a', told='')
    page, guard = folder / 'report.html', folder / 'guard.json'
    done = json.dumps(json.loads(guard.read_text()) | dict(told='use end', chosen='end'))
    assert 'http-equiv="refresh"' not in write_page([folder]).read_text()
    thread = threading.Thread(target=follow, args=([folder],), kwargs=dict(every=0.05))
    thread.start()
    seen, limit = False, time.monotonic() + 8
    while not seen and time.monotonic() < limit:
        seen = 'http-equiv="refresh"' in page.read_text()
    guard.write_text(done)
    thread.join(8)
    assert seen and not thread.is_alive()
    assert 'http-equiv="refresh"' not in page.read_text() and 'Export it' in page.read_text()


def test_scalars_as_csv(tmp_path):
    rows = list(csv.reader(write_csv([make_run(tmp_path / 'a')], tmp_path / 's.csv').open()))
    assert rows[0] == ['run', 'name', 'iteration', 'value']
    assert [row[2:] for row in rows if row[1] == 'loss'] == [
        ['1', '5.0'], ['2', '4.0'], ['3', 'nan'], ['4', '3.0'], ['5', 'inf']
    ]  # fmt: skip


def test_folder_that_is_no_run_ends_in_one_line(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / 'missing'):
        with pytest.raises(SystemExit) as left:
            main(['report', str(folder)])
        message = capsys.readouterr().err.strip()
        assert left.value.code == 2 and 'is no run' in message and len(message.splitlines()) == 1


def test_a_page_needs_no_torch(tmp_path):
    folder = make_run(tmp_path / 'a')
    (folder / 'pictures').mkdir()
    Image.new('RGB', (8, 4)).save(folder / 'pictures/pca.png')
    code = (
        'import sys; from densecl.cli import call, make_parser\n'
        f'assert call(make_parser().parse_args(["report", {str(folder)!r}])) == 0\n'
        f'assert call(make_parser().parse_args(["report", {str(tmp_path / "none")!r}])) == 2\n'
        'assert not {"torch", "mmengine", "cv2", "scipy"} & set(sys.modules)'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=60)
    assert Parsed((folder / 'report.html').read_text(encoding='utf-8')).all('img')


CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


@pytest.mark.skipif(CHROMIUM is None, reason='no Chromium is installed')
def test_page_in_a_browser(tmp_path):
    """At 390 and 1280 px it is no wider than its window, and the console stays silent."""
    one, two = make_run(tmp_path / 'aaa'), make_run(tmp_path / 'b', lr=0.2)
    (two / 'pictures').mkdir()
    Image.new('RGB', (2000, 300)).save(two / 'pictures/wide.png')
    page = write_page([one, two], tmp_path / 'page.html')
    told = (
        'dataset.widths = [this.contentDocument.documentElement.scrollWidth, this.contentWindow.innerWidth]'
    )
    frame = '<iframe src="page.html" style="width:{}px;height:900px;border:0" onload="{}"></iframe>'
    outer = tmp_path / 'outer.html'
    outer.write_text(''.join(frame.format(width, f'this.{told}') for width in (390, 1280)))
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr', '--dump-dom']
    options += ['--allow-file-access-from-files', f'--user-data-dir={tmp_path / "profile"}']

    def opened(url: str) -> str:
        done = subprocess.run([CHROMIUM, *options, url], capture_output=True, text=True, timeout=60)
        assert 'CONSOLE' not in done.stderr, done.stderr
        return done.stdout

    widths = re.findall(r'data-widths="(\d+),(\d+)"', opened(outer.as_uri()))
    assert [int(window) for _, window in widths] == [390, 1280]
    assert all(int(content) <= int(window) for content, window in widths)
    assert 'Settings that differ' in opened(page.as_uri())
