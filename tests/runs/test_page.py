"""The page of a run holds its figures, and needs no other file."""

import json
import re

import cv2
import numpy as np

from densecl.runs.page import read_scalars, shown, write_page
from densecl.runs.run import Run


def make_run(folder) -> Run:
    """A folder as a run leaves it."""
    (folder / 'one' / 'vis_data').mkdir(parents=True)
    (folder / 'two' / 'vis_data').mkdir(parents=True)
    (folder / 'config.py').write_text("x = '<script>'\n")
    settings = [dict(name='batch', value=64, reason='few & large')]
    (folder / 'settings.json').write_text(json.dumps(settings))
    (folder / 'manifest.json').write_text(json.dumps({'photos': {'count': 24}, 'settings': {'batch': 64}}))
    lines = [dict(loss=5.0, iter=1, lr=0.1), dict(loss=4.0, iter=2), dict(loss=9.0, iter=3)]
    (folder / 'one/vis_data/scalars.json').write_text('\n'.join(map(json.dumps, lines)))
    (folder / 'two/vis_data/scalars.json').write_text(json.dumps(dict(loss=3.0, iter=3, dense_rank=80.5)))
    cv2.imwrite(str(folder / 'views.png'), np.zeros((4, 4, 3), np.uint8))
    return Run(folder)


def test_scalars_of_a_resumed_run_go_on(tmp_path):
    scalars = read_scalars(make_run(tmp_path).folder)
    assert scalars['loss'] == [(1, 5.0), (2, 4.0), (3, 3.0)]
    assert shown(scalars) == ['loss', 'dense_rank']


def test_page_has_everything_in_it(tmp_path):
    run = make_run(tmp_path)
    row = dict(name='end', verdict='better', miou={'linear': 41.5}, sentence='mIoU linear 41.5')
    (tmp_path / 'guard.json').write_text(json.dumps(dict(told='use end', measurements=[row])))
    page = write_page(run).read_text()
    assert '<td>few &amp; large</td>' in page and '<td>photos.count</td><td>24</td>' in page
    assert 'loss: 5 to 3 (between 3 and 5)' in page and 'use end' in page and '<td>41.50</td>' in page
    assert "x = '&lt;script&gt;'" in page.replace('&#x27;', "'")
    assert 'data:image/png;base64,' in page and 'views.png' in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_curve_spans_its_box(tmp_path):
    page = write_page(make_run(tmp_path), tmp_path / 'other.html').read_text()
    points = re.search(r'points="([^"]+)"', page)[1].split()
    assert points == ['0.0,0.0', '210.0,65.0', '420.0,130.0']


def test_a_run_without_logs_has_a_page(tmp_path):
    (tmp_path / 'config.py').write_text('x = 1')
    page = write_page(Run(tmp_path)).read_text()
    assert 'x = 1' in page and 'Guard' not in page and 'Training</h2><' not in page
