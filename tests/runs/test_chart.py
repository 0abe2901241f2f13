"""Charts: round ticks, thinned series that keep their extremes, gaps where values are not finite."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from densecl.runs.chart import chart, thin, tick_label, ticks

NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize(
    ('low', 'high', 'expected'),
    [
        (0, 308, [0, 100, 200, 300, 400]),
        (-16.2, -11.7, [-18, -16, -14, -12, -10]),
        (0.2, 0.71, [0.2, 0.4, 0.6, 0.8]),
    ],
)
def test_ticks_are_round_and_enclose(low, high, expected):
    assert np.allclose(ticks(low, high, 4), expected)


def test_ticks_of_one_value_and_of_noise():
    for low, high in ((1, 1), (0.9999999, 1.0000001), (0, 0)):
        found = ticks(low, high, 4)
        assert found[0] < low and found[-1] > high and found[-1] - found[0] >= 0.19


def test_labels_of_ticks():
    assert [tick_label(v, 0.05) for v in (-0.05, 0, 0.1)] == ['−0.05', '0', '0.10']
    assert tick_label(12e-5, 2e-5) == '12e−5' and tick_label(20_000, 5_000) == '20,000'


def test_thinned_series_keep_minimum_maximum_and_gaps():
    ys = np.sin(np.arange(10_000) / 700)
    ys[1234], ys[8765], ys[4000] = 50, -50, NAN
    found = thin(list(enumerate(ys.tolist())))
    assert len(found) <= 300 and sorted(x for x, _ in found) == [x for x, _ in found]
    kept = [y for _, y in found]
    assert max(y for y in kept if y == y) == 50 and min(y for y in kept if y == y) == -50
    assert any(y != y for y in kept)


def test_curve_spans_its_box_and_has_gaps():
    points = [(0, 0.0), (1, 1.0), (2, NAN), (3, INF), (4, 0.0)]
    svg = chart({'a': points}, 'share, 0 to 1', 'iteration (steps)')
    root = ElementTree.fromstring(svg)
    (curve,) = [path for path in root.iter('path') if path.get('class') == 'curve']
    assert len(re.findall('M', curve.get('d'))) == 2
    numbers = [tuple(map(float, pair)) for pair in re.findall(r'([\d.]+) ([\d.]+)', curve.get('d'))]
    assert numbers == [(64.0, 168.0), (130.5, 10.0), (330.0, 168.0)]
    texts = [text.text for text in root.iter('text')]
    assert 'share, 0 to 1' in texts and 'iteration (steps)' in texts and '0.5' in texts


def test_nothing_finite_is_no_chart():
    assert chart({'a': [(0, NAN)], 'b': []}, 'a', 'b') == ''


def test_names_are_escaped():
    assert '<b>' not in chart({'a': [(0, 1.0), (1, 2.0)]}, '<b>', 'x')
