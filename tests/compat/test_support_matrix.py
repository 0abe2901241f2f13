"""The script that fills docs/support.md."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def matrix():
    spec = importlib.util.spec_from_file_location('matrix', ROOT / 'tools' / 'support_matrix.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / 'tools')  # where a script finds its own modules
        yield module


def test_every_family_has_a_config(matrix):
    names = matrix.families()
    assert {'mmdet::mask_rcnn', 'mmdet::fcos', 'mmseg::upernet'} <= set(names)
    for name in names:
        package, family = name.split('::')
        config = matrix.representative(name)
        assert (matrix.config_folder(package) / family / config).is_file()


def test_the_plainest_config_stands_for_the_family(matrix):
    assert matrix.representative('mmdet::mask_rcnn') == 'mask-rcnn_r50_fpn_1x_coco.py'
    assert matrix.representative('mmdet::dcn') == 'faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py'


def test_a_family_runs_in_a_child_process(matrix, monkeypatch):
    assert matrix.try_family('mmdet::rpn', 60).result == 'runs'
    assert matrix.try_family('mmdet::rpn', 0.01).result == 'not known: took over 0 s'
    monkeypatch.setattr(matrix, 'representative', lambda name: 'none.py')
    assert matrix.try_family('mmdet::rpn', 60).result.startswith('fails: FileNotFoundError')


def test_the_table_goes_between_its_marks_and_comes_back(matrix, tmp_path):
    page = tmp_path / 'support.md'
    page.write_text('# Title\n\nbefore\n')
    rows = [
        matrix.Row('mmdet', 'gn+ws', 'a.py', 'runs', 1.0),
        matrix.Row('mmseg', 'fcn', 'b.py', 'needs compiled mmcv: upfirdn2d', 1.0),
    ]
    matrix.write(page, matrix.table(rows))
    read = matrix.read(page)
    assert [row._replace(seconds=1.0) for row in read.values()] == rows
    page.write_text(page.read_text() + '\nafter\n')
    matrix.write(page, matrix.table(rows[:1]))
    text = page.read_text()
    assert list(matrix.read(page)) == ['mmdet::gn+ws']
    assert text.startswith('# Title') and text.endswith('after\n') and 'upfirdn2d' not in text
    assert '1 of 1 families run' in text
