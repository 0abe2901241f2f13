"""Tested ranges and the warning outside of them."""

import warnings

import pytest

from densecl.compat import versions


@pytest.mark.parametrize(
    'name, version, inside',
    [
        ('torch', '2.14.1', True),
        ('torch', '2.11.0+cu128', True),
        ('torch', '2.14.9.dev1', True),
        ('torch', '2.10.2', False),
        ('torch', '2.15.0', False),
        ('mmcv', '2.1.0', True),
        ('mmcv', '2.2.0', False),
        ('numpy', '2.4.6', True),
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
    assert lines[0] == 'densecl is tested with torch 2.11 to 2.14; 9.9.9 is installed'
    assert len(lines) == len(versions.TESTED)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert versions.warn_untested() == lines


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
