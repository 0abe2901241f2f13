"""Intervals are those of Student's t."""

import math

import numpy as np
import pytest

from densecl.runs.intervals import interval, paired


@pytest.mark.parametrize('count', [2, 3, 5, 10, 16, 17, 40])
def test_half_width_against_scipy(count):
    stats = pytest.importorskip('scipy.stats')
    values = np.random.default_rng(count).normal(3, 2, count)
    low, high = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    found = interval(values.tolist())
    assert found.mean == pytest.approx(values.mean())
    assert found.half == pytest.approx((high - low) / 2, rel=0.005)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_one_value_has_no_interval():
    assert math.isinf(interval([2.0]).half) and str(interval([2.0])) == '2.00 (one value)'
    with pytest.raises(ValueError, match='needs a value'):
        interval([])


def test_pairs_cancel_what_seeds_share():
    one = [10.0, 20.0, 30.0]
    found = paired(one, [11.0, 21.0, 31.0])
    assert (found.mean, found.half, found.count) == (1.0, 0.0, 3)
    # differences 1, 2, 3: mean 2, standard error 1 / sqrt(3)
    assert paired(one, [11.0, 22.0, 33.0]).half == pytest.approx(4.303 / math.sqrt(3))
    with pytest.raises(ValueError):
        paired(one, [1.0])
