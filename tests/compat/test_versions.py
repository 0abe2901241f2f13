"""Tested ranges, the warning outside of them, and the bounds that setup.py and docs/support.md declare."""

import re
import runpy
import warnings
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement

from densecl.compat import versions

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def release():
    return runpy.run_path(str(ROOT / 'tools/check_release.py'))


@pytest.fixture
def declared(monkeypatch):
    """Dependency -> lower bound, of setup.py; each has one, and the same in all extras."""
    options = {}
    monkeypatch.setattr(setuptools, 'setup', lambda **given: options.update(given))
    runpy.run_path(str(ROOT / 'setup.py'))
    extras = {name: needed for name, needed in options['extras_require'].items() if name != 'tests'}
    bounds = {'python': {options['python_requires'].removeprefix('>=')}}
    for text in sum(extras.values(), options['install_requires']):
        needed = Requirement(text)
        lower = [spec.version for spec in needed.specifier if spec.operator == '>=']
        assert len(lower) == 1, text
        bounds.setdefault(needed.name, set()).update(lower)
    assert all(len(found) == 1 for found in bounds.values()), bounds
    return {name: found.pop() for name, found in bounds.items()}


def table():
    """Name -> oldest and newest version, of docs/support.md."""
    text = (ROOT / 'docs/support.md').read_text()
    part = text.split('## Tested versions')[1].split('\n## ')[0]
    rows = re.findall(r'^\| ([\w-]+) \| ([\d.]+) \| ([\d.]+) \|$', part, re.M)
    return {name: (oldest, newest) for name, oldest, newest in rows}


@pytest.mark.parametrize(
    'name, version, inside',
    [
        ('torch', '2.14.1', True),
        ('torch', '2.11.0+cu128', True),
        ('torch', '2.14.9.dev1', True),
        ('torch', '2.5.1', False),
        ('torch', '2.16.0', False),
        ('mmcv', '2.1.0', True),
        ('mmcv', '2.2.0', False),
        ('numpy', '1.26.4', False),
        ('numpy', '2.0.0', True),
        ('python', '3.10.13', True),
        ('python', '3.14.0', False),
    ],
)
def test_range(name, version, inside):
    assert versions.in_tested_range(name, version) == inside


def test_installed_versions_inside_the_range_pass_in_silence(monkeypatch):
    monkeypatch.setattr(versions, 'installed_version', lambda name: versions.TESTED[name].last)
    assert versions.warn_untested() == []
    monkeypatch.setattr(versions, 'installed_version', lambda name: None)
    assert versions.warn_untested() == []


def test_one_warning_per_package(monkeypatch):
    monkeypatch.setattr(versions, 'installed_version', lambda name: '9.9.9')
    monkeypatch.setattr(versions, '_warned', set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        lines = versions.warn_untested()
    assert [str(w.message) for w in caught] == lines
    assert lines[1] == 'densecl is tested with torch 2.6 to 2.15; 9.9.9 is installed'
    assert len(lines) == len(versions.TESTED)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert versions.warn_untested() == lines


def test_what_is_too_old_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(versions, 'installed_version', {'torch': '2.5.1+cpu'}.get)
    monkeypatch.setattr(versions, '_warned', set())
    with pytest.warns(UserWarning) as caught:
        versions.warn_untested()
    told = 'densecl needs torch 2.6 or newer; 2.5.1+cpu is installed'
    assert [str(warning.message) for warning in caught] == [told]


def test_tested_ranges_begin_at_the_declared_bounds(declared):
    names = {'mmcv': 'mmcv-lite'}
    for name, tested in versions.TESTED.items():
        if not name.startswith('onedl-'):
            assert tested.first == declared[names.get(name, name)], name


def test_table_of_versions_is_what_setup_declares_and_the_message_says(declared):
    rows = table()
    assert rows.keys() == declared.keys()
    for name, (oldest, newest) in rows.items():
        assert f'{oldest}.'.startswith(f'{declared[name]}.'), name
        tested = 'mmcv' if name == 'mmcv-lite' else name
        if tested in versions.TESTED:
            assert versions.in_tested_range(tested, oldest) and versions.in_tested_range(tested, newest)
            assert f'{newest}.'.startswith(f'{versions.TESTED[tested].last}.'), name


def test_every_dependency_has_a_test_of_its_bounds(declared, release):
    assert release['TESTS'].keys() == declared.keys() - {'python'}
    for test in release['TESTS'].values():
        path, _, name = test.partition('::')
        assert f'def {name.partition("[")[0]}' in (ROOT / path).read_text(), test


def test_constraints_lie_within_the_bounds(declared):
    pins = dict(re.findall(r'^([\w-]+)==([\w.]+)', (ROOT / 'constraints.txt').read_text(), re.M))
    for name in declared.keys() - {'python', 'setuptools'}:
        assert pins[name] in Requirement(f'{name}>={declared[name]}').specifier, name


def test_mmcv_lite_counts_as_mmcv():
    pytest.importorskip('mmcv')
    assert versions.installed_version('mmcv') or versions.installed_version('onedl-mmcv')
    assert versions.installed_version('no-such-package') is None


def test_mmdet_and_mmseg_accept_the_tested_mmcv():
    pytest.importorskip('mmdet')
    mmseg = pytest.importorskip('mmseg')
    from mmengine.utils import digit_version

    if not hasattr(mmseg, 'MMCV_MAX'):
        pytest.skip('this mmseg (onedl-mmsegmentation) states no range of mmcv')
    assert digit_version(mmseg.MMCV_MIN) <= digit_version('2.1.0') < digit_version(mmseg.MMCV_MAX)


def test_a_fork_has_a_range_of_its_own():
    assert versions.in_tested_range('onedl-mmdetection', '3.5.1')
    assert not versions.in_tested_range('onedl-mmdetection', '3.6.0')


@pytest.mark.parametrize(
    'installed, mmdet, fork',
    [
        ((), True, False),
        (('mmdet',), True, False),
        (('onedl-mmdetection',), False, True),
        (('mmdet', 'onedl-mmdetection'), True, True),  # one has written over the other
    ],
)
def test_forks_are_told_where_they_are_installed(monkeypatch, installed, mmdet, fork):
    monkeypatch.setattr(versions, 'installed_version', lambda name: '3.3.0' if name in installed else None)
    told = versions.of_interest()
    assert 'torch' in told and 'mmengine' in told
    assert ('mmdet' in told, 'onedl-mmdetection' in told) == (mmdet, fork)
