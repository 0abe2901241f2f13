"""Projectors of all levels and kinds in one module."""

import pytest
import torch

from densecl.models.necks import LevelProjectors


def widths(projector) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in projector.parameters() if p.ndim == 2]


def test_widths():
    """(C, C, D) and (9 C, 9 C, D) unless told otherwise; the public third-party code of DetCo."""
    with torch.device('meta'):
        projectors = LevelProjectors((256, 512, 1024, 2048), names=('c2', 'c3', 'c4', 'c5'))
    for name, c in (('c2', 256), ('c5', 2048)):
        assert widths(projectors['global'][name]) == [(c, c), (128, c)]
        assert widths(projectors['local'][name]) == [(9 * c, 9 * c), (128, 9 * c)]
    total = sum(p.numel() for p in projectors['local'].parameters())
    assert round(total / 1e6) == 456
    small = LevelProjectors((8, 4), hidden=(5, 6), local_hidden=7, out_channels=3, patches=4)
    assert widths(small['global']) == [(5, 8), (3, 5), (6, 4), (3, 6)]
    assert widths(small['local']) == [(7, 32), (3, 7), (7, 16), (3, 7)]


def test_only_what_is_asked_for_and_options_of_the_perceptrons():
    projectors = LevelProjectors((8, 4), kinds=('global',), norm=True, last_norm=True, out_channels=3)
    assert list(projectors) == ['global'] and list(projectors['global']) == ['0', '1']
    names = [type(layer).__name__ for layer in projectors['global']['0']]
    assert names == ['Linear', 'BatchNorm1d', 'ReLU', 'Linear', 'BatchNorm1d']
    local = LevelProjectors((8,), kinds=('local',), norm=True, out_channels=3, patches=2)
    assert list(local) == ['local']
    assert [type(layer).__name__ for layer in local['local']['0'].together][1] == 'BatchNorm1d'
    assert local['local']['0'](torch.randn(4, 2, 8)).shape == (4, 3)


def test_one_number_for_each_level():
    with pytest.raises(ValueError, match=r"channels \(3, 4\) must have .* the levels \('a', 'b', 'c'\)"):
        LevelProjectors((3, 4), names=('a', 'b', 'c'))
    with pytest.raises(ValueError, match=r'hidden \(4, 4\) must be .* one for each of the 3 levels'):
        LevelProjectors((3, 4, 5), hidden=(4, 4))
